"""The rounds: every peer in turn on a fresh bed, asked every question, again and again.

Peers are interleaved, and each round begins with another one, so that no peer always follows the
same neighbour or always has the warm machine.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.bed import Bed, Pair, two_hosts, wait_for_path
from benchmarks.machine import look
from benchmarks.peers.base import Peer
from benchmarks.questions.base import Question, Setting
from benchmarks.results import Entrant, Failure, Measurement, Results
from vxnet.errors import HostError

__all__ = ["Plan", "Watch", "carry_out"]

Watch = Callable[[str, float], None]
"""Told what is being done now, and how much of the whole is done: 0 to 1."""

START_S = 3.0  # what starting and stopping a peer takes, for the progress bar only
QUESTION_S = 0.8  # likewise what a question takes besides its traffic


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure: `peers` are those that can run here."""

    peers: Sequence[Peer]
    questions: Sequence[Question]
    rounds: int
    seconds: int
    baseline: str
    command: str


@dataclass(slots=True)
class _Progress:
    watch: Watch
    whole_s: float
    done_s: float = 0.0

    def step(self, what: str, takes_s: float) -> None:
        self.watch(what, min(self.done_s / self.whole_s, 1.0))
        self.done_s += takes_s


def carry_out(plan: Plan, watch: Watch) -> Results:
    """Measure all of it. What a peer fails at is noted, and the others go on."""
    results = Results(
        command=plan.command,
        started=time.strftime("%Y-%m-%d %H:%M:%S %z"),
        machine=look(),
        rounds=plan.rounds,
        seconds=plan.seconds,
        baseline=plan.baseline,
        peers=[Entrant(peer.name, peer.title) for peer in plan.peers],
        metrics=[metric for question in plan.questions for metric in question.metrics],
    )
    by_mtu = _by_mtu(plan.questions)
    progress = _Progress(watch, _whole_s(plan, by_mtu))
    for number in range(1, plan.rounds + 1):
        for mtu, questions in by_mtu.items():
            for peer in _rotated(plan.peers, number - 1):
                _visit(plan, number, peer, mtu, questions, results, progress)
    return results


def _visit(
    plan: Plan,
    number: int,
    peer: Peer,
    mtu: int,
    questions: Sequence[Question],
    results: Results,
    progress: _Progress,
) -> None:
    """One peer, one bed, one round."""
    label = f"round {number} of {plan.rounds} · {peer.title}"
    progress.step(f"{label} · starts", START_S)
    try:
        with two_hosts(mtu) as bed, peer.joined(bed) as pair:
            wait_for_path(pair)
            for question in questions:
                progress.step(f"{label} · {question.title}", plan.seconds + QUESTION_S)
                _ask(plan, number, peer, question, bed, pair, results)
    except HostError as error:
        results.failures.append(Failure(number, peer.name, None, str(error)))


def _ask(
    plan: Plan,
    number: int,
    peer: Peer,
    question: Question,
    bed: Bed,
    pair: Pair,
    results: Results,
) -> None:
    try:
        answers = question.ask(pair, Setting(plan.seconds, bed.directory))
    except HostError as error:
        results.failures.append(Failure(number, peer.name, question.name, str(error)))
        return
    for metric, value in answers.items():
        results.measurements.append(Measurement(number, peer.name, metric, value))


def _by_mtu(questions: Sequence[Question]) -> dict[int, list[Question]]:
    """Questions that share a bed, the common one first."""
    ordered = sorted(questions, key=lambda question: question.underlay_mtu != 1500)
    groups: dict[int, list[Question]] = {}
    for question in ordered:
        groups.setdefault(question.underlay_mtu, []).append(question)
    return groups


def _whole_s(plan: Plan, by_mtu: dict[int, list[Question]]) -> float:
    visits = len(by_mtu) * START_S
    asked = len(plan.questions) * (plan.seconds + QUESTION_S)
    return plan.rounds * len(plan.peers) * (visits + asked)


def _rotated(peers: Sequence[Peer], by: int) -> list[Peer]:
    start = by % len(peers)
    return [*peers[start:], *peers[:start]]
