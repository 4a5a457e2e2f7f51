"""Damage is found where nothing changes, in small streams and, slice by slice, in large ones."""

from dataclasses import replace

import pytest

from tests.gossip.stage import BLUE, QUIET, Actor, Stage, mac
from vxnet.gossip.events import AlarmKind
from vxnet.gossip.stream import Stream
from vxnet.wire.rows import Row

SCOPE = BLUE + 1


@pytest.fixture(params=[8, 100], ids=["in-slices", "in-one-piece"])
def held(request: pytest.FixtureRequest) -> tuple[Stage, Actor, Stream]:
    """A stream of forty rows."""
    stage = Stage(replace(QUIET, slice_rows=request.param, scrub_interval_s=1.0))
    stage.do("attach", BLUE)
    owner = stage.actor()
    owner.attach()
    for at in range(40):
        owner.announce(mac(at))
    stream = stage.node.table.get(owner.id, SCOPE)
    assert stream is not None
    return stage, owner, stream


def test_what_is_as_it_should_be_is_left_alone(held: tuple[Stage, Actor, Stream]) -> None:
    stage, owner, stream = held
    stage.wait(20.0)
    assert stage.node.table.get(owner.id, SCOPE) is stream
    assert stage.alarms(AlarmKind.STREAM_MISMATCH) == []


def test_one_damaged_row_is_found_and_the_stream_fetched_again(
    held: tuple[Stage, Actor, Stream],
) -> None:
    stage, owner, stream = held
    (key, row), *_ = stream.rows.items()
    stream.rows[key] = Row(row.kind, row.key, row.ver, b"\x93\x01\x00\x90")
    stage.wait(20.0)
    assert stage.node.table.get(owner.id, SCOPE) is not stream
    assert len(stage.alarms(AlarmKind.STREAM_MISMATCH)) == 1


def test_a_stream_that_changes_while_it_is_counted_is_not_taken_for_damaged(
    held: tuple[Stage, Actor, Stream],
) -> None:
    stage, owner, stream = held
    for turn in range(400):
        owner.announce(mac(100 + turn % 7), sequence=turn)
        stage.wait(0.02)
    assert stage.node.table.get(owner.id, SCOPE) is stream
    assert stage.alarms(AlarmKind.STREAM_MISMATCH) == []
