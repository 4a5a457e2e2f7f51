"""What vxnet is held to, and what a run says of it."""

import pytest

from benchmarks import catalogue, gossip
from benchmarks.goals import GOALS, verdicts
from benchmarks.questions.base import Metric
from benchmarks.tables import goals
from tests.benchmarks.runs import SPEED, WAIT, made_up

NATIVE = "vxnet-native"


def words(values: dict[tuple[str, Metric], list[float]]) -> dict[str, tuple[float, str]]:
    return {v.goal.title: (v.value, v.word) for v in verdicts(made_up(values))}


def test_a_goal_compares_within_each_round_with_the_best_of_the_others() -> None:
    found = words(
        {
            (NATIVE, SPEED): [10.0, 10.0, 10.0],
            ("fastd", SPEED): [1.0, 2.0, 0.1],
            ("tinc", SPEED): [0.5, 0.5, 0.5],
        }
    )
    assert found == {"native / best Ethernet in user space, TCP": (10.0, "met")}


@pytest.mark.parametrize(("speed", "word"), [(6.9, "missed"), (7.0, "met"), (10.0, "as aimed")])
def test_more_is_better_of_throughput(speed: float, word: str) -> None:
    found = words({("kernel", SPEED): [10.0], (NATIVE, SPEED): [speed]})
    assert found["native / kernel VXLAN, TCP 1 stream"][1] == word


@pytest.mark.parametrize(("wait", "word"), [(111.0, "missed"), (110.0, "met"), (75.0, "as aimed")])
def test_what_a_round_trip_takes_longer_is_a_difference(wait: float, word: str) -> None:
    found = words({("kernel", WAIT): [50.0], (NATIVE, WAIT): [wait]})
    assert found["native - kernel VXLAN, RTT p50, µs"] == (wait - 50.0, word)


@pytest.mark.parametrize(("highest", "word"), [(10.0, "met"), (10.1, "missed")])
def test_a_limit_is_of_ours_alone_and_holds_in_the_worst_round(highest: float, word: str) -> None:
    heal = Metric("heal.s", "Half and half, mended", "all see all", "s", False)
    found = words({("vxnet-30", heal): [2.0, highest, 3.0], ("serf-30", heal): [1.0, 1.0, 1.0]})
    assert found == {"30 agents: halves mended, the longest, s": (highest, word)}


def test_a_run_without_ours_says_nothing_of_goals() -> None:
    assert goals(made_up({("kernel", SPEED): [10.0]})) is None


def test_goals_name_peers_and_metrics_that_there_are() -> None:
    peers = {peer.name for peer in (*catalogue.PEERS, *gossip.PEERS)}
    questions = (*catalogue.QUESTIONS, *gossip.QUESTIONS)
    metrics = {metric.key for question in questions for metric in question.metrics}
    assert {goal.metric for goal in GOALS} <= metrics
    assert {name for goal in GOALS for name in (goal.ours, *goal.others)} <= peers
