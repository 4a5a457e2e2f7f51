"""The gossip's fuzz targets: octets as messages, as rows, and said by a member to a node."""

import msgspec

from tests.gossip.stage import BLUE, Stage, mac
from vxnet.gossip.events import MemberState
from vxnet.wire.gossip import (
    HEADER_BYTES,
    TAG_BYTES,
    decode_body,
    decode_header,
    encode,
    encode_header,
    pack,
    split_records,
)
from vxnet.wire.rows import AttachBody, EntryBody, NodeBody, decode_row_body

__all__ = ["datagram", "packet", "records", "row"]

ROWS = (NodeBody, AttachBody, EntryBody)


def packet(data: bytes) -> None:
    """A packet without a seal: whatever is read can be written, and is read again as the same."""
    header = decode_header(data)
    assert encode_header(header) == data[:HEADER_BYTES]
    messages = decode_body(data[HEADER_BYTES:-TAG_BYTES])
    assert decode_body(pack([encode(message) for message in messages])) == messages


def row(data: bytes) -> None:
    """What a row holds; the first octet says what it is to be."""
    kind = ROWS[data[0] % len(ROWS)] if data else NodeBody
    held = decode_row_body(data[1:], kind)
    assert msgspec.msgpack.decode(encode(held), type=kind) == held


def datagram(data: bytes) -> None:
    """A packet of a member, past every seal: the node goes on, and what it answers is well-formed.

    The octets may say that the node is dead, so that it refutes; that it left, only it can say.
    """
    stage = _stage()
    member = stage.actors[next(iter(stage.actors))]
    member.send(member.security.seal(data))
    stage.wait(3.0)
    stage.node.members()
    assert stage.me.state is MemberState.ALIVE


def records(data: bytes) -> None:
    """Octets on a connection; the first says whose it is, the rest are records without a seal."""
    stage = _stage()
    member = stage.actors[next(iter(stage.actors))]
    stream = member.dial()
    if data[:1] > b"\x7f":
        stage.node._transfers.fetch(member.peer, (), stage.now, join=True)
        stage.collect()
        stream = stage.connects[-1].stream
        stage.node.connected(stream, stage.now)
        stage.collect()
    assert stream is not None
    for record in split_records(bytearray(data[1:])):
        sealed = member.security.seal(record)
        member.stream(stream, len(sealed).to_bytes(2, "big") + sealed)
    member.answers_on(stream)
    stage.wait(3.0)


def _stage() -> Stage:
    """A node with a network and a station, and a member that has the network too."""
    stage = Stage()
    stage.do("attach", BLUE)
    stage.do("announce", BLUE, mac(1))
    member = stage.actor()
    member.attach()
    member.announce(mac(2))
    return stage
