"""Runs one fuzz target, or all in turn: `python -m tests.fuzz.run NAME|all --seconds 60`.

Inputs that reach new code are kept in `tests/fuzz/corpus/NAME`, where every run begins; one that
breaks the target ends the run with status 77 and is written beside the traceback.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["vxnet", "tests.fuzz.targets"]):
    from tests.fuzz.targets import TARGETS
    from vxnet.errors import WireError

__all__ = ["CORPUS"]

CORPUS = Path(__file__).parent / "corpus"


def main() -> None:
    """Read the command line and fuzz."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("target", choices=["all", *TARGETS])
    parser.add_argument("--seconds", type=int, default=60, help="of each target")
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="where inputs are kept")
    parser.add_argument("--seed", type=int, default=0, help="0 draws one")
    options = parser.parse_args()
    if options.target == "all":
        # The engine ends its process, so each target has its own.
        arguments = [f"--seconds={options.seconds}", f"--seed={options.seed}"]
        for name in TARGETS:
            command = [sys.executable, "-m", "tests.fuzz.run", name, *arguments]
            subprocess.run([*command, f"--corpus={options.corpus}"], check=True)
        return
    target = TARGETS[options.target]
    corpus = options.corpus / options.target
    corpus.mkdir(parents=True, exist_ok=True)

    def once(data: bytes) -> None:
        try:
            target(data)
        except WireError:
            return

    arguments = [
        f"-max_total_time={options.seconds}",
        f"-seed={options.seed}",
        f"-artifact_prefix={corpus}/broken-",
        "-max_len=2048",
        "-rss_limit_mb=1024",
        str(corpus),
    ]
    atheris.Setup([sys.argv[0], *arguments], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
