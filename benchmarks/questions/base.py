"""What a question is: something measured between two ends, with named answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.bed import End, Pair
from benchmarks.process import Program, wait_until

__all__ = ["TOOLS", "Metric", "Question", "Setting", "tool", "wait_for_line"]

TOOLS = Path(__file__).parent.parent / "tools"


@dataclass(frozen=True, slots=True)
class Metric:
    """One number a question answers with."""

    key: str  # unique among all questions
    topic: str  # the question's title
    label: str  # what of the question, in a word or two
    unit: str
    higher_is_better: bool
    decimals: int = 2


@dataclass(frozen=True, slots=True)
class Setting:
    """Under which circumstances a question is asked."""

    seconds: int  # how long each of its measurements lasts; iperf3 knows whole ones only
    directory: Path  # for what the tools write


class Question(Protocol):
    """One thing to find out about a peer."""

    @property
    def name(self) -> str:
        """What `--question` calls it."""
        ...

    @property
    def title(self) -> str:
        """What reports call it, in a few words."""
        ...

    @property
    def metrics(self) -> Sequence[Metric]:
        """What `ask` answers with; the first one is the one to plot."""
        ...

    @property
    def underlay_mtu(self) -> int:
        """The MTU of the cable between the hosts."""
        ...

    def ask(self, pair: Pair, setting: Setting) -> Mapping[str, float]:
        """Measure. Answers by metric key; raises HostError when it cannot be measured."""
        ...


def tool(end: End, name: str, *words: object) -> list[str]:
    """The command line of one of our traffic tools, to be run at an end.

    The system's own interpreter, isolated: it starts fast, and sees nothing of this repository.
    """
    return end.command([*PYTHON, str(TOOLS / name), *map(str, words)])


PYTHON = ("python3", "-I", "-S")


def wait_for_line(running: Program, line: str) -> None:
    """Wait until a program has said `line`."""
    wait_until(
        lambda: line in running.log.read_text().splitlines(), f"its {line!r}", running=running
    )
