"""Published ports, with real sockets: who gets a connection, what is told, when it ends."""

import asyncio
import contextlib
import ipaddress
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from random import Random
from typing import Any

import pytest

from vxnet.cnm.model import IpAddress
from vxnet.errors import HostError
from vxnet.relays.base import Bound, Target
from vxnet.relays.datagrams import SESSION_IDLE_S, DatagramRelay
from vxnet.relays.sources import Sources
from vxnet.relays.streams import StreamRelay
from vxnet.wire.proxy_protocol import SIGNATURE, header

HERE = ipaddress.ip_address("127.0.0.1")


async def make_socket(family: int, kind: int) -> socket.socket:
    return socket.socket(family, kind | socket.SOCK_NONBLOCK)


class Members:
    """Servers on loopback, each of which says its number, then echoes."""

    def __init__(self, *servers: asyncio.Server) -> None:
        self.servers = servers
        self.targets = [
            Target(bytes([n]), HERE, server.sockets[0].getsockname()[1])
            for n, server in enumerate(servers)
        ]

    def choose(
        self, held: Counter[bytes], tried: Collection[bytes], _client: IpAddress
    ) -> Target | None:
        willing = [target for target in self.targets if target.member not in tried]
        return min(willing, key=lambda t: held[t.member], default=None)


@contextlib.asynccontextmanager
async def members(count: int) -> AsyncIterator[Members]:
    async with contextlib.AsyncExitStack() as stack:
        servers = []
        for number in range(count):

            async def serve(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int = number
            ) -> None:
                with contextlib.suppress(ConnectionError):
                    writer.write(b"%d" % number)
                    while data := await reader.read(65_536):
                        writer.write(data)
                        await writer.drain()
                writer.close()

            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            stack.callback(server.close)
            servers.append(server)
        yield Members(*servers)


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as made:
        made.bind(("", 0))
        port: int = made.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def relay_to(
    found: Members, bound: Bound | None = None, *, proxy_protocol: bool = False
) -> AsyncIterator[tuple[StreamRelay, int]]:
    port = free_port()
    relay = StreamRelay(
        port,
        found.choose,
        make_socket,
        bound or Bound(),
        Sources(),
        proxy_protocol=proxy_protocol,
    )
    await relay.open()
    try:
        yield relay, port
    finally:
        relay.stop()
        relay.abort()
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20.0):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)


async def test_connections_are_spread_and_everything_arrives_both_ways() -> None:
    data = Random(7).randbytes(3_000_000)
    async with members(3) as found, relay_to(found) as (relay, port):
        seen: Counter[bytes] = Counter()
        held = []
        for _ in range(9):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            seen[await reader.readexactly(1)] += 1
            held.append((reader, writer))
        assert seen == {b"0": 3, b"1": 3, b"2": 3}
        assert len(relay) == 9
        reader, writer = held[0]
        reading = asyncio.create_task(reader.read(-1))
        writer.write(data)
        writer.write_eof()  # its other way goes on until all is back
        assert await asyncio.wait_for(reading, 30.0) == data
        for _, writer in held:
            writer.close()
        await until(lambda: len(relay) == 0)
        assert not relay.held


async def test_both_versions_of_ip_are_answered() -> None:
    async with members(1) as found, relay_to(found) as (_, port):
        for address in ("127.0.0.1", "::1"):
            reader, writer = await asyncio.open_connection(address, port)
            assert await reader.readexactly(1) == b"0"
            writer.close()


async def test_members_are_told_who_asks() -> None:
    async with members(1) as found, relay_to(found, proxy_protocol=True) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        mine: int = writer.get_extra_info("sockname")[1]
        assert await reader.readexactly(1) == b"0"
        told = await reader.readexactly(28)
        assert told[:12] == SIGNATURE == b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"
        assert told[12:16] == b"\x21\x11\x00\x0c"  # version 2, PROXY; TCP over IPv4; 12 octets
        assert told[16:24] == HERE.packed * 2
        assert struct.unpack("!HH", told[24:]) == (mine, port)
        writer.close()


def test_addresses_of_two_versions_are_told_as_ipv6() -> None:
    six = ipaddress.ip_address("2001:db8::1")
    told = header((HERE, 1), (six, 2))
    assert told[13] == 0x21
    assert told[16:48] == bytes(10) + b"\xff\xff\x7f\0\0\1" + six.packed


async def test_a_member_that_refuses_is_passed_over() -> None:
    async with members(2) as found, relay_to(found) as (_, port):
        found.servers[0].close()
        await found.servers[0].wait_closed()
        for _ in range(4):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await reader.readexactly(1) == b"1"
            writer.close()


async def test_without_members_a_client_is_reset() -> None:
    bound = Bound()
    async with members(0) as found, relay_to(found, bound) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()
        assert bound.counters["ingress_failed"] == 1
        await until(lambda: bound.used == 0)


async def test_no_more_connections_than_there_is_room_for() -> None:
    bound = Bound(most=2)
    async with members(1) as found, relay_to(found, bound) as (_, port):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for reader, _ in held:
            await reader.readexactly(1)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()
        assert bound.counters["ingress_refused"] == 1
        held[0][1].close()
        await until(lambda: bound.used == 1)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.readexactly(1) == b"0"
        for _, opened in (*held, (reader, writer)):
            opened.close()
        await until(lambda: bound.used == 0)


async def test_connections_to_a_member_that_is_gone_are_reset_and_others_go_on() -> None:
    async with members(2) as found, relay_to(found) as (relay, port):
        held = {}
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            held[await reader.readexactly(1)] = (reader, writer)
        relay.keep({found.targets[1].member})
        with pytest.raises(ConnectionResetError):
            await held[b"0"][0].readexactly(1)
        reader, writer = held[b"1"]
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"
        for _, writer in held.values():
            writer.close()


async def test_a_relay_that_stops_takes_no_more_and_lets_go_on_what_it_has() -> None:
    async with members(1) as found, relay_to(found) as (relay, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readexactly(1)
        relay.stop()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"bye")
        assert await reader.readexactly(3) == b"bye"
        writer.close()


async def test_a_port_that_is_taken_is_said_to_be() -> None:
    async with members(0) as found:
        with socket.create_server(("", 0)) as taken:
            port = taken.getsockname()[1]
            relay = StreamRelay(port, found.choose, make_socket, Bound(), Sources())
            with pytest.raises(HostError, match=f"port {port} of this host cannot be had"):
                await relay.open()


class Echo(asyncio.DatagramProtocol):
    """Answers datagrams with its number before them."""

    def __init__(self, number: int) -> None:
        self.number = number

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.transport.sendto(b"%d" % self.number + data, address)


async def test_a_clients_datagrams_go_to_one_member_and_come_back_from_where_it_asked() -> None:
    loop = asyncio.get_running_loop()
    transports: list[asyncio.BaseTransport] = []
    targets = []
    for number in range(2):
        transport, _ = await loop.create_datagram_endpoint(
            lambda number=number: Echo(number),  # type: ignore[misc]
            local_addr=("127.0.0.1", 0),
        )
        transports.append(transport)
        targets.append(Target(bytes([number]), HERE, transport.get_extra_info("sockname")[1]))

    def choose(held: Counter[bytes], _: Collection[bytes], _client: IpAddress) -> Target:
        return min(targets, key=lambda target: held[target.member])

    port, bound = free_port(socket.SOCK_DGRAM), Bound(most=2)
    relay = DatagramRelay(port, choose, make_socket, bound, Sources())
    await relay.open()
    clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
    try:
        for client in clients:
            client.setblocking(False)
            client.connect(("127.0.0.2", port))  # only answers from there arrive
        for number, client in enumerate(clients[:2]):
            for text in (b"one", b"two"):
                client.send(text)
                answer = await asyncio.wait_for(loop.sock_recv(client, 100), 20.0)
                assert answer == b"%d" % number + text
        clients[2].send(b"three")
        await until(lambda: bound.counters["ingress_refused"] == 1)
        relay.keep({targets[1].member})
        assert len(relay) == 1
        relay.keep({target.member for target in targets})
        assert (len(relay), SESSION_IDLE_S) == (1, 60.0)
    finally:
        relay.stop()
        for opened in transports:
            opened.close()
        for client in clients:
            client.close()
    assert bound.used == 0


async def test_a_members_datagrams_are_heard_again_after_it_was_away() -> None:
    at = free_port(socket.SOCK_DGRAM)
    target = Target(b"m", HERE, at)
    port, bound = free_port(socket.SOCK_DGRAM), Bound(most=2)
    relay = DatagramRelay(
        port, lambda _held, _tried, _client: target, make_socket, bound, Sources()
    )
    await relay.open()
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect(("127.0.0.1", port))
        for _ in range(5):
            client.send(b"nobody")  # the kernel says so by ICMP
            await asyncio.sleep(0.02)
        echo, _ = await loop.create_datagram_endpoint(lambda: Echo(7), ("127.0.0.1", at))
        try:
            client.send(b"back")
            assert await asyncio.wait_for(loop.sock_recv(client, 100), 20.0) == b"7back"
        finally:
            echo.close()
            relay.stop()
