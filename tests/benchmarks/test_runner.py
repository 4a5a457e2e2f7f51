"""The rounds, with peers and questions that only pretend."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmarks import runner
from benchmarks.bed import Bed, End, Pair
from benchmarks.questions.base import Metric, Setting
from benchmarks.results import Results
from benchmarks.runner import Watch, begin, carry_out
from tests.benchmarks.runs import MACHINE
from vxnet.errors import HostError, StateError

PAIR = Pair(End(Path("near"), "10.42.0.1"), End(Path("far"), "10.42.0.2"))


@dataclass
class APeer:
    name: str
    diary: list[str]
    fails: bool = False

    @property
    def title(self) -> str:
        return self.name

    def install(self) -> None:
        return None

    def missing(self) -> None:
        return None

    @contextmanager
    def joined(self, bed: Bed) -> Iterator[Pair]:
        self.diary.append(f"{self.name} at {bed.mtu}")
        if self.fails:
            raise StateError("it would not start")
        yield PAIR


@dataclass
class AQuestion:
    name: str
    underlay_mtu: int = 1500
    fails: bool = False
    asked: list[float] = field(default_factory=list)

    @property
    def title(self) -> str:
        return self.name

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (Metric(f"{self.name}.x", self.title, "x", "1", True),)

    def ask(self, pair: Pair, setting: Setting) -> Mapping[str, float]:
        if self.fails:
            raise HostError("it cannot be measured")
        self.asked.append(setting.seconds)
        return {f"{self.name}.x": float(len(self.asked))}


@pytest.fixture(autouse=True)
def _nothing_real(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    @contextmanager
    def a_bed(mtu: int) -> Iterator[Bed]:
        bed = Bed(2, mtu=mtu)
        bed.directory = tmp_path
        yield bed

    monkeypatch.setattr(runner, "two_hosts", a_bed)
    monkeypatch.setattr(runner, "wait_for_path", lambda _pair: None)
    monkeypatch.setattr(runner, "look", lambda: MACHINE)


def measured(
    peers: list[APeer],
    questions: list[AQuestion],
    rounds: int,
    watch: Watch = lambda _what, _share: None,
) -> Results:
    results = begin(rounds, 2, command="python -m benchmarks", baseline="a")
    carry_out(peers, questions, results, watch)
    return results


def test_peers_are_interleaved_and_each_round_begins_with_another() -> None:
    diary: list[str] = []
    peers = [APeer(name, diary) for name in "abc"]
    measured(peers, [AQuestion("q")], rounds=3)
    assert [entry[0] for entry in diary] == list("abcbcacab")


def test_questions_share_a_bed_unless_they_need_another_cable() -> None:
    diary: list[str] = []
    questions = [AQuestion("q"), AQuestion("jumbo", underlay_mtu=9000), AQuestion("r")]
    measured([APeer("a", diary)], questions, rounds=1)
    assert diary == ["a at 1500", "a at 9000"]
    assert [question.asked for question in questions] == [[2]] * 3


def test_a_peer_that_fails_is_noted_and_the_others_go_on() -> None:
    diary: list[str] = []
    peers = [APeer("a", diary, fails=True), APeer("b", diary)]
    results = measured(peers, [AQuestion("q")], rounds=2)
    assert [(f.round, f.peer, f.reason) for f in results.failures] == [
        (1, "a", "it would not start"),
        (2, "a", "it would not start"),
    ]
    assert [(m.round, m.peer) for m in results.measurements] == [(1, "b"), (2, "b")]


def test_a_question_that_fails_does_not_take_the_next_one_along() -> None:
    questions = [AQuestion("q", fails=True), AQuestion("r")]
    results = measured([APeer("a", [])], questions, rounds=1)
    assert [failure.question for failure in results.failures] == ["q"]
    assert [measurement.metric for measurement in results.measurements] == ["r.x"]


def test_progress_only_grows_and_stays_within_the_whole() -> None:
    shares: list[float] = []
    peers = [APeer("a", []), APeer("b", [])]
    measured(peers, [AQuestion("q")], 2, lambda _what, share: shares.append(share))
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert shares[-1] < 1.0
