"""The rounds: every peer in turn on a fresh bed, asked every question, again and again.

Peers are interleaved, and each round begins with another one, so that no peer always follows the
same neighbour or always has the warm machine.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bed import Pair, two_hosts, wait_for_path
from benchmarks.machine import look
from benchmarks.peers.base import Peer
from benchmarks.questions.base import Question, Setting
from benchmarks.results import Entrant, Failure, Measurement, Results
from vxnet.errors import VxnetError

__all__ = ["Stage", "Watch", "begin", "carry_out", "two_ends"]

Watch = Callable[[str, float], None]
"""Told what is being done now, and how much of the whole is done: 0 to 1."""

Stage = Callable[[Any, int], AbstractContextManager[tuple[Any, Path]]]
"""Sets a peer up on a fresh bed with an underlay of this MTU: what its questions are asked about,
and the bed's directory."""

START_S = 3.0  # what starting and stopping a peer takes, for the progress bar only
QUESTION_S = 0.8  # likewise what a question takes besides its traffic


@dataclass(slots=True)
class _Progress:
    watch: Watch
    whole_s: float
    done_s: float = 0.0

    def step(self, what: str, takes_s: float) -> None:
        self.watch(what, min(self.done_s / self.whole_s, 1.0))
        self.done_s += takes_s


def begin(rounds: int, seconds: int, *, command: str, baseline: str) -> Results:
    """Results without a measurement yet: looks at the machine for a moment."""
    return Results(
        command=command,
        started=time.strftime("%Y-%m-%d %H:%M:%S %z"),
        machine=look(),
        rounds=rounds,
        seconds=seconds,
        baseline=baseline,
    )


@contextmanager
def two_ends(peer: Peer, mtu: int) -> Iterator[tuple[Pair, Path]]:
    """The stage of overlays: a peer that joins two hosts."""
    with two_hosts(mtu) as bed, peer.joined(bed) as pair:
        wait_for_path(pair)
        yield pair, bed.directory


def carry_out(
    peers: Sequence[Peer],
    questions: Sequence[Question],
    results: Results,
    watch: Watch,
    stage: Stage = two_ends,
) -> None:
    """Measure all of it into `results`. What a peer fails at is noted, and the others go on."""
    results.peers = [Entrant(peer.name, peer.title) for peer in peers]
    results.metrics = [metric for question in questions for metric in question.metrics]
    by_mtu = _by_mtu(questions)
    visit_s = len(by_mtu) * START_S + len(questions) * (results.seconds + QUESTION_S)
    progress = _Progress(watch, results.rounds * len(peers) * visit_s)
    for number in range(1, results.rounds + 1):
        for mtu, asked in by_mtu.items():
            for peer in _rotated(peers, number - 1):
                _visit(peer, stage(peer, mtu), asked, number, results, progress)


def _visit(
    peer: Peer,
    staged: AbstractContextManager[tuple[Any, Path]],
    questions: Sequence[Question],
    number: int,
    results: Results,
    progress: _Progress,
) -> None:
    """One peer, one bed, one round."""
    label = f"round {number} of {results.rounds} · {peer.title}"
    progress.step(f"{label} · starts", START_S)
    try:
        with staged as (subject, directory):
            setting = Setting(results.seconds, directory)
            for question in questions:
                progress.step(f"{label} · {question.title}", results.seconds + QUESTION_S)
                _ask(peer.name, question, subject, setting, number, results)
    except VxnetError as error:
        results.failures.append(Failure(number, peer.name, None, str(error)))


def _ask(
    peer: str, question: Question, subject: Any, setting: Setting, number: int, results: Results
) -> None:
    try:
        answers = question.ask(subject, setting)
    except VxnetError as error:
        results.failures.append(Failure(number, peer, question.name, str(error)))
        return
    for metric, value in answers.items():
        results.measurements.append(Measurement(number, peer, metric, value))


def _by_mtu(questions: Sequence[Question]) -> dict[int, list[Question]]:
    """Questions that share a bed."""
    groups: dict[int, list[Question]] = {}
    for question in questions:
        groups.setdefault(question.underlay_mtu, []).append(question)
    return groups


def _rotated(peers: Sequence[Peer], by: int) -> list[Peer]:
    start = by % len(peers) if peers else 0
    return [*peers[start:], *peers[:start]]
