"""The `vxnet` command."""

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line: exit status 0 done, 1 refused in one sentence, 2 wrong usage."""
    # Plain help and errors: rich would cost each command 50 ms, and the daemon 8 MB.
    os.environ.setdefault("TYPER_USE_RICH", "0")
    from vxnet.cli.app import app
    from vxnet.errors import VxnetError

    try:
        app(prog_name="vxnet")
    except VxnetError as error:
        print(f"vxnet: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    except BrokenPipeError:
        # Whoever read our output has enough of it, as `vxnet fdb | head` does.
        sys.stderr.close()
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
