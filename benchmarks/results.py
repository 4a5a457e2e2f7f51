"""What a run found out: every single measurement, and what follows from all of them."""

from pathlib import Path

import msgspec

from benchmarks.machine import Machine
from benchmarks.questions.base import Metric
from benchmarks.stats import Summary, ratios, summary
from vxnet.errors import ConfigError

__all__ = ["Answer", "Entrant", "Failure", "Measurement", "Results"]


class Entrant(msgspec.Struct, frozen=True):
    """A peer that took part."""

    name: str
    title: str


class Measurement(msgspec.Struct, frozen=True):
    """One number, of one peer, in one round."""

    round: int
    peer: str
    metric: str
    value: float


class Failure(msgspec.Struct, frozen=True):
    """What a peer could not answer, and why. `question` is None when it could not start."""

    round: int
    peer: str
    question: str | None
    reason: str


class Answer(msgspec.Struct, frozen=True):
    """What all rounds together say of one peer and metric. `ratio` is to the baseline."""

    peer: str
    metric: str
    value: Summary
    ratio: Summary | None


class Results(msgspec.Struct):
    """One run."""

    command: str
    started: str
    machine: Machine
    rounds: int
    seconds: int
    baseline: str
    peers: list[Entrant] = []
    metrics: list[Metric] = []
    unavailable: dict[str, str] = {}
    measurements: list[Measurement] = []
    failures: list[Failure] = []

    def answer(self, peer: str, metric: str) -> Answer | None:
        """The medians; None when the peer never answered."""
        values = self.by_round(peer, metric)
        value = summary(list(values.values()))
        if value is None:
            return None
        ratio = summary(ratios(values, self.by_round(self.baseline, metric)))
        return Answer(peer, metric, value, None if peer == self.baseline else ratio)

    def answers(self) -> list[Answer]:
        """All of them, metric by metric."""
        found = (self.answer(p.name, metric.key) for metric in self.metrics for p in self.peers)
        return [answer for answer in found if answer is not None]

    def by_round(self, peer: str, metric: str) -> dict[int, float]:
        """What a peer reached in each round it has an answer of."""
        found = (m for m in self.measurements if m.peer == peer and m.metric == metric)
        return {m.round: m.value for m in found}

    def document(self) -> bytes:
        """The run as JSON, answers included."""
        whole = msgspec.to_builtins(self) | {"answers": msgspec.to_builtins(self.answers())}
        return msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n"

    @classmethod
    def load(cls, path: Path) -> "Results":
        """A run from its document; answers are worked out anew. Raises ConfigError."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except msgspec.DecodeError as error:
            raise ConfigError(f"{path} does not hold a run's results: {error}") from None
