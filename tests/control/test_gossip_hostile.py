"""What hostile and broken peers send to a running host, and how it closes."""

import asyncio
import socket
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.control.parts import BLUE, FAST, cluster, mac, running, send, until
from vxnet.gossip.events import MemberState
from vxnet.gossip.member import Address
from vxnet.wire.addr import parse_ip
from vxnet.wire.gossip import Alive

KEY = bytes(range(32))


# ── what a hostile or broken peer can send ────────────────────────────────────────────────────


ELSEWHERE = {
    "an address of the other family": (bytes(15) + b"\1", 7947),
    "a broadcast address": (b"\xff" * 4, 7947),
    "the unspecified address": (bytes(4), 7947),
    "a multicast address": (b"\xe0\0\0\1", 7947),
    "no network at all": (b"\xf0\0\0\1", 7947),
    "a port nobody has": (b"\x7f\0\0\x63", 1),
}


@pytest.mark.parametrize(("ip", "port"), ELSEWHERE.values(), ids=ELSEWHERE)
async def test_a_member_said_to_be_where_nothing_can_be_sent_silences_nobody(
    tmp_path: Path, ip: bytes, port: int
) -> None:
    async with AsyncExitStack() as stack:
        one, two = await cluster(stack, tmp_path, 2)
        liar = two.plane._node
        claim = Alive(77, 1_700_000_000_000, 0, "nowhere", ip, 4789, port)
        liar.hub.send(Address(parse_ip("127.0.0.1"), one.plane.port), claim)
        two.plane._soon()
        await until(lambda: one.plane._node.roster.get(77) is not None)
        two.plane.attach(BLUE)
        one.plane.attach(BLUE)
        one.plane.announce(BLUE, mac(1))
        await until(lambda: two.stations() == {mac(1)})
        await until(lambda: one.plane._node.roster.peers[77].attempts > 2)
        assert two.state("h1") is MemberState.ALIVE


async def test_octets_that_are_no_gossip_are_counted_and_change_nothing(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one, two = await cluster(stack, tmp_path, 2, keys=(KEY,))
        send(one, b"", b"\0", b"nonsense" * 20, bytes(1200), b"\xe7\x01" + bytes(60))
        await until(lambda: one.plane.counters().get("dropped_malformed", 0) >= 4)
        assert one.alive() == two.alive() == {"h1", "h2"}


async def test_a_connection_that_says_nothing_or_nonsense_is_hung_up(tmp_path: Path) -> None:
    hasty = replace(FAST, stream_header_s=0.3)
    async with running(tmp_path, 1, settings=hasty) as one:
        for data in (b"", b"\0\x04nons", b"\xff\xff" + bytes(200)):
            reader, writer = await asyncio.open_connection("127.0.0.1", one.plane.port)
            writer.write(data)
            async with asyncio.timeout(10):
                assert await reader.read() == b""
            writer.close()
        assert one.plane.counters()["stream_errors"] == 1


async def test_more_connections_than_there_may_be_are_refused(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as one, AsyncExitStack() as stack:
        ends = []
        for _ in range(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", one.plane.port)
            stack.callback(writer.close)
            ends.append(reader)
        await until(lambda: one.plane.counters().get("streams_refused", 0) == 4)
        assert sum(reader.at_eof() for reader in ends) <= 4


# ── closing ───────────────────────────────────────────────────────────────────────────────────


async def test_a_closed_host_leaves_no_task_timer_or_socket_behind(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    async with AsyncExitStack() as stack:
        _, two = await cluster(stack, tmp_path, 2)
        port = two.plane.port
        await two.plane.close()
        await asyncio.sleep(0.1)  # whatever was on its way has come
        assert two.plane._timer is None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.2", port))
    assert asyncio.all_tasks() == before


async def test_commands_in_a_row_are_told_in_one_batch_and_never_from_within(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as host:
        batches: list[int] = []
        host.plane.subscribe(lambda events: batches.append(len(events)))
        host.plane.attach(BLUE)
        for at in range(10):
            host.plane.announce(BLUE, mac(at))
        assert batches == []
        await until(lambda: bool(batches))
        assert batches == [10]
