"""The gossip's UDP socket: read at once, worked off in slices, shed before it grows."""

import asyncio
import socket
from collections import Counter, deque
from collections.abc import Callable
from typing import cast

import asyncio_dgram
from asyncio_dgram.aio import DatagramServer

from vxnet.control.address import from_socket, to_socket
from vxnet.errors import HostError
from vxnet.gossip.member import Address

__all__ = ["Datagrams"]

INBOX_MAX = 2048
OUTBOX_MAX = 4096
SLICE = 64
"""Datagrams handled before the event loop sees to others: frames are forwarded on the same one."""

# linux/in.h, linux/in6.h: IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, and IP_PMTUDISC_PROBE for both
PROBE = {
    socket.AF_INET: (socket.IPPROTO_IP, 10, 3),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 23, 3),
}

Receive = Callable[[bytes, Address], None]


class Datagrams:
    """`receive` is called for each datagram, `handled` after each slice of them."""

    def __init__(
        self, receive: Receive, handled: Callable[[], None], counters: Counter[str]
    ) -> None:
        self._receive = receive
        self._handled = handled
        self._counters = counters
        self._inbox: deque[tuple[bytes, Address]] = deque()
        self._outbox: deque[tuple[bytes, tuple[str, int]]] = deque()
        self._ready = asyncio.Event()
        self._scheduled = False
        self._tasks: list[asyncio.Task[None]] = []
        self._socket: DatagramServer | None = None

    async def open(self, host: str, port: int) -> int:
        """Bind; the port, which the system chooses for 0. Raises HostError where it refuses."""
        # Bound here: an event loop that fails to bind may neither say why nor close its socket.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_DGRAM)
        try:
            # Nothing is fragmented, and what ICMP says of sizes is not believed: RFC 8899 §4.5.
            bound.setsockopt(*PROBE[family])
            bound.bind((host, port))
        except OSError as error:
            bound.close()
            raise HostError(
                f"gossip cannot use UDP {host} port {port}: {error.strerror}; is another daemon"
                " running, or is node.vtep not an address of this host?"
            ) from None
        bound.setblocking(False)
        self._socket = cast("DatagramServer", await asyncio_dgram.from_socket(bound))
        self._tasks = [
            asyncio.create_task(self._read(self._socket), name="gossip-read"),
            asyncio.create_task(self._write(self._socket), name="gossip-write"),
        ]
        return int(bound.getsockname()[1])

    def send(self, address: Address, data: bytes) -> None:
        """Queue a datagram; the oldest is given up where too many wait."""
        if len(self._outbox) >= OUTBOX_MAX:
            self._outbox.popleft()
            self._counters["datagrams_shed_out"] += 1
        self._outbox.append((data, to_socket(address)))
        self._ready.set()

    def drain(self) -> None:
        """Handle all that has arrived, at once: the timer must not run ahead of it."""
        while self._inbox:
            self._receive(*self._inbox.popleft())

    async def close(self) -> None:
        """Stop reading and writing."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _read(self, sock: DatagramServer) -> None:
        while True:
            try:
                data, source = await sock.recv()
            except asyncio_dgram.TransportClosed:
                return
            except OSError:  # an ICMP error for something sent earlier
                self._counters["datagram_errors"] += 1
                continue
            if len(self._inbox) >= INBOX_MAX:
                self._counters["datagrams_shed_in"] += 1
                continue
            host, port = cast("tuple[str, int]", source)[:2]
            self._inbox.append((data, from_socket(host, port)))
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        self._scheduled = False
        for _ in range(min(SLICE, len(self._inbox))):
            self._receive(*self._inbox.popleft())
        self._handled()
        if self._inbox:
            self._schedule()

    async def _write(self, sock: DatagramServer) -> None:
        while True:
            await self._ready.wait()
            self._ready.clear()
            while self._outbox:
                data, address = self._outbox.popleft()
                try:
                    await sock.send(data, address)
                except asyncio_dgram.TransportClosed:
                    return
                except (OSError, ValueError):  # ValueError: an address of the other family
                    self._counters["datagram_errors"] += 1
