"""The long run's judgement: what it takes for a leak, and for a lost counter."""

import os

import msgspec
import pytest

from benchmarks.soak.record import Lap, Record, complaints
from benchmarks.soak.vitals import look, unaccounted, went_back
from vxnet.api.model import CountersView, PlaceView, StatsView

MB = 1_000_000


def a_record(memory_mb: list[float], descriptors: list[int] | None = None) -> Record:
    laps = [
        Lap(
            number=number,
            at_s=60.0 * number,
            memory_bytes={"h1": int(mb * MB)},
            descriptors={"h1": descriptors[number] if descriptors else 40},
            threads={"h1": 9},
            frames=1000 * number,
            slowest_s=2.0,
            slowest="a peer restarts",
        )
        for number, mb in enumerate(memory_mb)
    ]
    return Record("native", "2026-01-01", 60.0, laps)


def stats(kind: str = "endpoint", **counts: int) -> StatsView:
    zero = CountersView(0, 0, 0, 0, 0, 0, {}, 0, 0)
    counters = msgspec.structs.replace(zero, **counts)
    return StatsView((PlaceView(kind, "web", counters),), {}, {}, {})


@pytest.mark.parametrize(
    "memory_mb",
    [
        pytest.param([50.0] * 60, id="level"),
        pytest.param([40.0, 45.0, 49.0, *[50.0] * 57], id="buffers find their size"),
        pytest.param([50.0 + 5 * (number % 2) for number in range(60)], id="up and down"),
    ],
)
def test_memory_that_stays_within_bounds_is_no_leak(memory_mb: list[float]) -> None:
    assert list(complaints(a_record(memory_mb))) == []


def test_memory_that_grows_with_every_lap_is_a_leak() -> None:
    (said,) = complaints(a_record([50 + 0.2 * number for number in range(60)]))
    assert said.startswith("h1 grew from 5")


def test_one_descriptor_more_is_a_leak_however_short_the_run() -> None:
    (said,) = complaints(a_record([50.0, 50.0], [40, 41]))
    assert said == "h1 had 40 descriptors after one lap and 41 after another"


def test_a_run_without_a_lap_proves_nothing() -> None:
    assert list(complaints(a_record([]))) == ["not one lap was finished"]


def test_what_went_wrong_amid_the_run_is_told() -> None:
    record = a_record([50.0])
    record.problems.append("lap 2: h3 reaches h1: not so within 60 s")
    assert list(complaints(record)) == record.problems


def test_a_frame_of_unknown_fate_is_found() -> None:
    assert list(unaccounted(stats(received=5, delivered=2, sent=3))) == []
    (said,) = unaccounted(stats(received=5, delivered=2, sent=2))
    assert said == "endpoint web: 5 frames entered, 4 are accounted for"


def test_counters_of_endpoints_never_go_back_and_those_of_peers_may_begin_anew() -> None:
    before, after = stats(received=5), stats(received=4)
    assert list(went_back(before, after)) == ["endpoint web: 5 frames had entered, now 4"]
    assert list(went_back(after, before)) == []
    assert list(went_back(stats("peer", received=5), stats("peer", received=4))) == []


def test_a_descriptor_shows_in_the_vitals() -> None:
    before = look(os.getpid())
    assert before.memory_bytes > MB
    descriptor = os.open("/dev/null", os.O_RDONLY)
    try:
        assert look(os.getpid()).descriptors == before.descriptors + 1
    finally:
        os.close(descriptor)
