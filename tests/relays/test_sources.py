"""Under whose address members are spoken to."""

import asyncio
import ipaddress
import socket
from collections import Counter
from collections.abc import Collection

import pytest

from tests.relays.test_relays import free_port, make_socket
from vxnet.cnm.model import IpAddress
from vxnet.relays.base import Bound, Target
from vxnet.relays.datagrams import DatagramRelay
from vxnet.relays.sources import SILENT_S, Sources
from vxnet.relays.streams import StreamRelay

HERE = ipaddress.ip_address("127.0.0.1")
CLIENT = (ipaddress.ip_address("198.51.100.9"), 1000)
SHOWN = Target(b"m", HERE, 80, shows_client=True)


def test_a_member_is_shown_clients_where_it_can_and_does_answer_them() -> None:
    sources = Sources()
    assert sources.wanted(Target(b"m", HERE, 80), CLIENT, 0.0) == ()
    assert sources.wanted(SHOWN, CLIENT, 0.0) == (CLIENT, (CLIENT[0], 0))
    sources.was_silent(b"m", 10.0)
    assert sources.is_spared(b"m", 10.0)
    assert sources.wanted(SHOWN, CLIENT, 9.0 + SILENT_S) == ()
    assert sources.wanted(SHOWN, CLIENT, 10.0 + SILENT_S)[0] == CLIENT
    sources.answered(b"m")
    assert sources.wanted(SHOWN, CLIENT, 11.0)[0] == CLIENT
    assert sources.is_answering(b"m")
    sources.keep({b"n"})
    assert not sources.is_answering(b"m")


@pytest.mark.netns
async def test_a_connection_has_the_clients_address_and_its_port_where_that_is_free() -> None:
    seen: asyncio.Queue[tuple[str, int]] = asyncio.Queue()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.put_nowait(writer.get_extra_info("peername"))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    target = Target(b"m", HERE, server.sockets[0].getsockname()[1], shows_client=True)

    def choose(_held: Counter[bytes], _tried: Collection[bytes], _client: IpAddress) -> Target:
        return target

    port = free_port()
    relay = StreamRelay(port, choose, make_socket, Bound(), Sources())
    await relay.open()
    loop = asyncio.get_running_loop()
    try:
        for shares in (1, 0):  # the port of the client, which is on this host as well
            with await make_socket(socket.AF_INET, socket.SOCK_STREAM) as made:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, shares)
                made.bind(("127.0.0.3", 0))
                await loop.sock_connect(made, ("127.0.0.1", port))
                address, number = await asyncio.wait_for(seen.get(), 20.0)
                assert address == "127.0.0.3"
                assert (number == made.getsockname()[1]) == bool(shares)
    finally:
        relay.stop()
        relay.abort()
        server.close()


@pytest.mark.netns
async def test_datagrams_of_one_client_by_two_addresses_are_kept_apart() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as member:
        member.bind(("127.0.0.1", 0))
        member.settimeout(20.0)
        target = Target(b"m", HERE, member.getsockname()[1], shows_client=True)
        port = free_port(socket.SOCK_DGRAM)
        relay = DatagramRelay(port, lambda *_: target, make_socket, Bound(), Sources())
        await relay.open()
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                client.bind(("127.0.0.3", 0))
                for asked in ("127.0.0.1", "127.0.0.2"):
                    client.sendto(asked.encode(), (asked, port))
                heard = [await asyncio.to_thread(member.recvfrom, 100) for _ in range(2)]
        finally:
            relay.stop()
        assert {data for data, _ in heard} == {b"127.0.0.1", b"127.0.0.2"}
        assert {address for _, (address, _) in heard} == {"127.0.0.3"}
        assert len({number for _, (_, number) in heard}) == 2
