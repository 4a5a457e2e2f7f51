"""The `vxnet` command."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line: exit status 0 done, 1 refused in one sentence, 2 wrong usage."""
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
