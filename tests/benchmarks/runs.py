"""A small run, made up, for tests of what is made of results."""

from benchmarks.machine import Machine
from benchmarks.questions.base import Metric
from benchmarks.results import Entrant, Measurement, Results

__all__ = ["MACHINE", "SPEED", "WAIT", "made_up"]

SPEED = Metric("tcp-1.gbps", "TCP, 1 stream", "throughput", "Gbit/s", True)
WAIT = Metric("rtt.p50", "RTT idle", "p50", "µs", False, 0)

MACHINE = Machine(
    processor="a processor",
    cores=2,
    memory_gb=4.0,
    kernel="6.1",
    system="Debian",
    python="3.11",
    background_percent=1.0,
)


def made_up(values: dict[tuple[str, Metric], list[float]]) -> Results:
    """A run with these values, one a round; the baseline is `kernel`."""
    peers = list(dict.fromkeys(peer for peer, _ in values))
    return Results(
        command="python -m benchmarks",
        started="today",
        machine=MACHINE,
        rounds=max(map(len, values.values())),
        seconds=1,
        baseline="kernel",
        peers=[Entrant(peer, peer.title()) for peer in peers],
        metrics=list(dict.fromkeys(metric for _, metric in values)),
        measurements=[
            Measurement(number, peer, metric.key, value)
            for (peer, metric), series in values.items()
            for number, value in enumerate(series, start=1)
        ],
    )
