"""How agents are listened to, with pipes in place of processes."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.clusters.ears import Ears, Kind, Saying
from benchmarks.clusters.serf import SerfAgent
from benchmarks.clusters.vxnet import VxnetAgent
from vxnet.errors import HostError

PATIENCE_S = 30.0


@contextmanager
def two_voices() -> Iterator[tuple[Ears, int, int]]:
    """Ears that listen to agents 0 and 1, and the descriptors these two speak into."""
    ears = Ears(VxnetAgent.understand)
    pipes = [os.pipe() for _ in range(2)]
    outputs = [os.fdopen(output, "rb") for output, _ in pipes]
    for agent, output in enumerate(outputs):
        ears.listen_to(agent, output)
    try:
        yield ears, pipes[0][1], pipes[1][1]
    finally:
        ears.close()
        for output in outputs:
            output.close()


def test_what_agents_say_is_known_of_each_with_its_time() -> None:
    start = time.monotonic()
    with two_voices() as (ears, first, second):
        os.write(first, b"ready\nup a1\nheard 02:00:00:00:00:01@127.1.0.2\n")
        os.write(second, b"up a0\ndown a0\n")
        ears.wait(lambda: "a0" in ears.knowledge(1).dead, "news", PATIENCE_S)
        ears.wait(lambda: "a1" in ears.knowledge(0).alive, "news", PATIENCE_S)
        assert set(ears.knowledge(0).heard) == {"ready", "02:00:00:00:00:01@127.1.0.2"}
        assert start <= ears.knowledge(1).dead["a0"] <= time.monotonic()
        assert ears.knowledge(1).alive == {}
        assert ears.deaths == {"a0": 1}
        os.close(first)
        os.close(second)


def test_a_line_in_two_pieces_is_one_line() -> None:
    with two_voices() as (ears, first, second):
        os.write(first, b"up a")
        os.write(second, b"up a0\n")
        ears.wait(lambda: "a0" in ears.knowledge(1).alive, "news", PATIENCE_S)
        os.write(first, b"17\n")
        ears.wait(lambda: "a17" in ears.knowledge(0).alive, "news", PATIENCE_S)
        assert set(ears.knowledge(0).alive) == {"a17"}
        os.close(first)
        os.close(second)


def test_an_agent_that_ended_is_noticed_and_its_last_words_are_kept() -> None:
    with two_voices() as (ears, first, second):
        os.write(first, b"Traceback\nOSError: no such luck\n")
        os.close(first)
        ears.wait(lambda: ears.has_ended(0), "the end", PATIENCE_S)
        assert ears.last_words(0) == "Traceback\nOSError: no such luck"
        assert not ears.has_ended(1)
        os.close(second)


def test_waiting_in_vain_says_for_what() -> None:
    with two_voices() as (ears, first, second):
        with pytest.raises(HostError, match=r"rain did not happen within 0\.01 s"):
            ears.wait(lambda: False, "rain", 0.01)
        os.close(first)
        os.close(second)


@pytest.mark.parametrize(
    ("line", "saying"),
    [
        ("==> Serf agent running!", Saying(Kind.HEARD, "ready")),
        ("2026/11/24 03:51:23 [INFO] serf: EventMemberJoin: a2 127.1.0.3", Saying(Kind.UP, "a2")),
        ("[INFO] serf: EventMemberFailed: a2 127.1.0.3", Saying(Kind.DOWN, "a2")),
        ("[INFO] serf: EventMemberLeave: a2 127.1.0.3", Saying(Kind.DOWN, "a2")),
        ("[INFO] agent: Received event: user-event: news-7", Saying(Kind.HEARD, "news-7")),
        ("[INFO] agent: Received event: member-join", None),
        ("[INFO] memberlist: Suspect a2 has failed, no acks received", None),
    ],
)
def test_serf_is_understood_by_its_log(line: str, saying: Saying | None) -> None:
    assert SerfAgent.understand(line) == saying
