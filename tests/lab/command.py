"""Commands of the lab's own machine: what fails says what it said."""

import subprocess
from pathlib import Path
from typing import Final

__all__ = ["DIES_WITH_US", "LabError", "run"]

DIES_WITH_US: Final = ("setpriv", "--pdeathsig", "KILL", "--")
"""Put before a command that must not outlive us; it goes with the thread that started it."""


class LabError(Exception):
    """A machine could not be made, or does not do what it should: a sentence for people."""


def run(*command: str | Path, cwd: Path | None = None, text: str | None = None) -> str:
    """Run a command to its end; returns what it printed. Raises LabError where it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, cwd=cwd, input=text, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise LabError(
            f"there is no command {words[0]}; scripts/setup lab installs what is missing"
        ) from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip() or "nothing"
        raise LabError(f"`{' '.join(words)[:200]}` ended with {done.returncode}, saying: {said}")
    return done.stdout
