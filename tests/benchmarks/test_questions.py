"""What questions make of what the tools and the kernel say."""

import json
import os

import pytest

from benchmarks.catalogue import PEERS, QUESTIONS, QUICK, THROUGHPUT
from benchmarks.questions.footprint import proportional_bytes, run_ns
from benchmarks.questions.tcp import received_bytes
from vxnet.errors import HostError


def iperf_document(**sums: tuple[int, float]) -> str:
    return json.dumps({"end": {k: {"bytes": b, "seconds": s} for k, (b, s) in sums.items()}})


def test_tcp_counts_what_arrived_not_what_was_sent() -> None:
    document = iperf_document(sum_sent=(500, 2.0), sum_received=(400, 2.1))
    assert received_bytes(document) == (400, 2.1)


def test_tcp_both_ways_counts_both_receivers() -> None:
    document = iperf_document(sum_received=(400, 2.1), sum_received_bidir_reverse=(300, 2.2))
    assert received_bytes(document) == (700, 2.2)


def test_tcp_that_carried_nothing_is_a_failure() -> None:
    with pytest.raises(HostError, match="not one byte"):
        received_bytes(iperf_document(sum_received=(0, 2.0)))


def test_memory_is_the_proportional_set_size() -> None:
    assert proportional_bytes("Rss:  900 kB\nPss:     123 kB\nPss_Anon: 7 kB\n") == 123 * 1024
    with pytest.raises(ValueError, match="no Pss"):
        proportional_bytes("Rss: 1 kB\n")


def test_the_run_time_of_a_process_grows_as_it_works() -> None:
    before = run_ns(os.getpid())
    sum(range(300_000))
    assert run_ns(os.getpid()) > before


def test_every_name_and_every_metric_is_given_once() -> None:
    peers = [peer.name for peer in PEERS]
    questions = [question.name for question in QUESTIONS]
    keys = [metric.key for question in QUESTIONS for metric in question.metrics]
    for names in (peers, questions, keys):
        assert len(names) == len(set(names))
    assert {*QUICK, *THROUGHPUT} <= set(questions)
