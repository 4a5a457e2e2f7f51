"""The gossip's UDP socket gives up what it cannot keep up with, and never the rest of the loop."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.control.parts import until
from vxnet.control.address import from_socket, to_socket
from vxnet.control.datagrams import INBOX_MAX, OUTBOX_MAX, SLICE, Datagrams
from vxnet.gossip.member import Address
from vxnet.wire.addr import Ip, parse_ip

NOWHERE = Address(parse_ip("127.0.0.1"), 9)


class Desk:
    """A socket, what it was handed, and how much at a time."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self.received: list[bytes] = []
        self.slices: list[int] = []
        self.datagrams = Datagrams(self._receive, self._handled, self.counters)
        self.port = 0

    def _receive(self, data: bytes, _: Address) -> None:
        self.received.append(data)

    def _handled(self) -> None:
        self.slices.append(len(self.received) - sum(self.slices))

    def send(self, count: int) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for at in range(count):
                sender.sendto(at.to_bytes(4, "big"), ("127.0.0.1", self.port))


@pytest_asyncio.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    desk.port = await desk.datagrams.open("127.0.0.1", 0)
    yield desk
    await desk.datagrams.close()


async def test_what_arrives_is_handled_in_order_and_in_slices(desk: Desk) -> None:
    desk.send(200)
    await until(lambda: len(desk.received) == 200)
    assert desk.received == [at.to_bytes(4, "big") for at in range(200)]
    assert max(desk.slices) <= SLICE
    assert sum(desk.slices) == 200


async def test_a_queue_that_is_full_sheds_what_comes_and_counts_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert INBOX_MAX == 2048
    monkeypatch.setattr("vxnet.control.datagrams.INBOX_MAX", 50)
    work = desk.datagrams._work
    monkeypatch.setattr(desk.datagrams, "_work", lambda: None)  # the node is busy elsewhere
    desk.send(200)
    await until(lambda: desk.counters["datagrams_shed_in"] == 150)
    assert desk.received == []
    work()
    assert len(desk.received) == 50
    assert desk.received[0] == bytes(4)  # the oldest were kept


async def test_draining_handles_everything_at_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk.datagrams, "_work", lambda: None)
    desk.send(200)
    await until(lambda: len(desk.datagrams._inbox) == 200)
    desk.datagrams.drain()
    assert len(desk.received) == 200


async def test_too_much_to_send_gives_up_the_oldest_and_counts_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert OUTBOX_MAX == 4096
    monkeypatch.setattr("vxnet.control.datagrams.OUTBOX_MAX", 10)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        there = Address(parse_ip("127.0.0.1"), receiver.getsockname()[1])
        for at in range(30):
            desk.datagrams.send(there, bytes([at]))
        assert desk.counters["datagrams_shed_out"] == 20
        await until(lambda: not desk.datagrams._outbox)
        got = [await receive(receiver) for _ in range(10)]
    assert got == [bytes([at]) for at in range(20, 30)]


async def receive(sock: socket.socket) -> bytes:
    async with asyncio.timeout(10):
        return await asyncio.get_running_loop().sock_recv(sock, 100)


@pytest.mark.parametrize("address", ["255.255.255.255", "240.0.0.1", "::1", "2001:db8::1"])
async def test_where_nothing_can_be_sent_is_counted_and_the_rest_goes_on(
    desk: Desk, address: str
) -> None:
    for _ in range(3):
        desk.datagrams.send(Address(parse_ip(address), 7947), b"lost")
    await until(lambda: desk.counters["datagram_errors"] >= 1)
    me = Address(parse_ip("127.0.0.1"), desk.port)
    for _ in range(3):  # an error is told with the next datagram, which it costs
        desk.datagrams.send(me, b"found")
    await until(lambda: b"found" in desk.received)


async def test_a_port_that_nobody_has_is_no_reason_to_stop(desk: Desk) -> None:
    for _ in range(5):
        desk.datagrams.send(NOWHERE, b"x")
        await asyncio.sleep(0.01)
    desk.send(1)
    await until(lambda: len(desk.received) == 1)


async def test_a_closed_one_is_closed_again_without_harm(desk: Desk) -> None:
    await desk.datagrams.close()
    await desk.datagrams.close()


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", b"\x7f\0\0\x01"),
        ("::1", bytes(15) + b"\1"),
        ("fe80::1%eth0", b"\xfe\x80" + bytes(13) + b"\1"),
    ],
)
def test_addresses_of_sockets_are_read_and_written(host: str, expected: bytes) -> None:
    address = from_socket(host, 7947)
    assert address == Address(Ip(expected), 7947)
    assert to_socket(address) == (host.partition("%")[0], 7947)
