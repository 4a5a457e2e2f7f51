"""Captures: the datapath watches while somebody listens, and a slow listener only misses."""

import asyncio

import pytest

from vxnet.captures import OPEN_MAX, SIGHTS_MAX, Captures
from vxnet.datapath.memory import MemoryDatapath
from vxnet.datapath.sight import End, Sight, Verb
from vxnet.errors import StateError
from vxnet.switch.actions import PortId
from vxnet.wire.addr import Vni


def sight(vni: int = 1) -> Sight:
    """A frame of a network that was answered."""
    return Sight(1, Vni(vni), PortId(1), End(Verb.REPLIED), 1, 5, b"frame")


async def test_each_listener_hears_what_it_wants_until_it_is_over() -> None:
    datapath = MemoryDatapath()
    captures = Captures(datapath)
    everything = captures.open(100, lambda _: True)
    some = captures.open(100, lambda seen: seen.vni == 2)
    assert datapath.watcher is not None
    datapath.watcher([sight(1), sight(2)], 3)
    assert await everything.fetch() == ([sight(1), sight(2)], 3)
    assert await some.fetch() == ([sight(2)], 3)
    captures.close(everything)
    assert datapath.watcher is not None, "somebody listens still"
    waiting = asyncio.create_task(some.fetch())
    await asyncio.sleep(0)
    captures.close_all()
    assert await waiting == ([], 0)
    assert datapath.watcher is None


async def test_a_listener_that_does_not_fetch_misses_frames_and_keeps_no_more() -> None:
    datapath = MemoryDatapath()
    captures = Captures(datapath)
    slow = captures.open(100, lambda _: True)
    assert datapath.watcher is not None
    for _ in range(3):
        datapath.watcher([sight()] * SIGHTS_MAX, 0)
    sights, missed = await slow.fetch()
    assert (len(sights), missed) == (SIGHTS_MAX, 2 * SIGHTS_MAX)


async def test_too_many_listeners_are_refused() -> None:
    captures = Captures(MemoryDatapath())
    for _ in range(OPEN_MAX):
        captures.open(1, lambda _: True)
    with pytest.raises(StateError, match="end one of them"):
        captures.open(1, lambda _: True)
