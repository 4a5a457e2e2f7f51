"""Asks the host's resolvers what no network knows: one question once, each answer checked."""

import asyncio
import contextlib
import ipaddress
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random, SystemRandom
from typing import Final

from vxnet.host.arrivals import arrivals
from vxnet.names.cache import AnswerCache
from vxnet.names.pending import Pending, Waiting
from vxnet.names.query import DnsError, Query

__all__ = ["RESOLV_CONF", "Upstream", "system_resolvers"]

RESOLV_CONF: Final = Path("/etc/resolv.conf")
LOOK_EVERY_S: Final = 2.0
TICK_S: Final = 0.25
SOCKETS_A_SERVER: Final = 8  # each has a port of its own, so that ids alone are not what protects
STREAMS_MAX: Final = 64
STREAM_S: Final = 5.0

Server = tuple[str, int]
Tell = Callable[[bytes | None], None]


def system_resolvers(path: Path = RESOLV_CONF) -> list[Server]:
    """The resolvers that a resolv.conf names; none where it cannot be read."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        match line.split():
            case ["nameserver", address, *_]:
                with contextlib.suppress(ValueError):
                    found.append((str(ipaddress.ip_address(address)), 53))
    return found


class Upstream:
    """The host's resolvers. `refused` are addresses that are never asked: our own resolvers'."""

    def __init__(
        self,
        servers: Sequence[Server],
        refused: Callable[[], set[str]],
        counters: Counter[str],
        *,
        path: Path = RESOLV_CONF,
        random: Random | None = None,
    ) -> None:
        """With no `servers`, those of the file at `path`, looked at again when it changes."""
        self._given = list(servers)
        self._refused = refused
        self._counters = counters
        self._path = path
        self._random = random or SystemRandom()
        self._pending = Pending(self._random)
        self._cache = AnswerCache()
        self._servers: list[Server] = list(servers)
        self._stamp: tuple[int, int] | None = None
        self._looked = float("-inf")
        self._sockets: dict[Server, list[socket.socket]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._streams = asyncio.Semaphore(STREAMS_MAX)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def outstanding(self) -> int:
        """How many questions wait for an answer."""
        return len(self._pending)

    def servers(self) -> list[Server]:
        """Who is asked, in order."""
        self._look()
        refused = self._refused()
        return [server for server in self._servers if server[0] not in refused]

    def ask(self, packet: bytes, query: Query, tell: Tell, *, stream: bool) -> None:
        """Have a question answered; `tell` may be called at once. None: nobody answered."""
        now = time.monotonic()
        cached = self._cache.get(packet[2:], now)
        if cached is not None and (stream or not cached[2] & 0x02):
            self._counters["dns_cached"] += 1
            tell(packet[:2] + cached[2:])
            return
        servers = self.servers()
        if not servers:
            self._counters["dns_no_upstream"] += 1
            tell(None)
            return

        def answered(answer: bytes | None) -> None:
            tell(None if answer is None else packet[:2] + answer[2:])

        if stream:
            task = asyncio.get_running_loop().create_task(self._ask_stream(packet, query, answered))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        waiting = self._pending.ask(packet, query, now, answered)
        if waiting is None:
            return
        self._counters["dns_forwarded"] += 1
        self._send(waiting, servers)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def counters(self) -> dict[str, int]:
        """What it holds, and what it did."""
        return {
            "dns_outstanding": len(self._pending),
            "dns_cache": len(self._cache),
            "dns_joined": self._pending.joined,
            "dns_refused": self._pending.refused,
        }

    def close(self) -> None:
        """Ask nobody any more; who waits is told that there is no answer."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        self._close_sockets()

    def _send(self, waiting: Waiting, servers: list[Server]) -> None:
        server = servers[waiting.tries % len(servers)]
        try:
            via = self._random.choice(self._open(server))
            via.send(waiting.packet)
        except OSError:
            self._counters["dns_upstream_errors"] += 1  # the next try asks the next one

    def _open(self, server: Server) -> list[socket.socket]:
        """Connected sockets: the kernel lets nobody else's packets in."""
        opened = self._sockets.get(server)
        if opened is None:
            opened = self._sockets[server] = []
            loop = asyncio.get_running_loop()
            family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
            for _ in range(SOCKETS_A_SERVER):
                made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
                opened.append(made)
                made.connect(server)
                loop.add_reader(made, partial(self._receive, made))
        return opened

    def _receive(self, via: socket.socket) -> None:
        try:
            for packet in arrivals(via, partial(self._receive, via)):
                self._hear(packet)
        except OSError:  # what ICMP told of an earlier question
            self._counters["dns_upstream_errors"] += 1

    def _hear(self, packet: bytes) -> None:
        try:
            waiting = self._pending.hear(packet)
            self._keep(waiting.packet, packet)
        except DnsError as error:
            self._counters[error.fault] += 1
        else:
            self._pending.settle(waiting, packet)

    def _keep(self, question: bytes, packet: bytes) -> None:
        self._cache.put(question[2:], packet, time.monotonic())

    def _tick(self) -> None:
        """Ask the next server what one did not answer in time."""
        again = self._pending.overdue(time.monotonic())
        servers = self.servers() if again else []
        for waiting in again:
            if servers:
                self._send(waiting, servers)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(TICK_S, self._tick) if len(self._pending) else None

    async def _ask_stream(self, packet: bytes, query: Query, tell: Tell) -> None:
        """Over TCP: for clients that came so, as an answer did not fit a datagram."""
        number = self._random.getrandbits(16)
        question = number.to_bytes(2) + packet[2:]
        pending = Pending(self._random)  # one question on a connection of its own
        answers: list[bytes | None] = []
        waiting = pending.ask(question, query, 0.0, answers.append)
        assert waiting is not None
        async with self._streams:
            for server in self.servers():
                try:
                    async with asyncio.timeout(STREAM_S):
                        answer = await _exchange(server, waiting.packet)
                    pending.hear(answer)
                    self._keep(waiting.packet, answer)
                except DnsError as error:
                    self._counters[error.fault] += 1
                except (OSError, TimeoutError, asyncio.IncompleteReadError):
                    self._counters["dns_upstream_errors"] += 1
                else:
                    tell(answer)
                    return
        tell(None)

    def _look(self) -> None:
        """The file may say something else by now. A stat of /etc waits for no disk."""
        now = time.monotonic()
        if self._given or now - self._looked < LOOK_EVERY_S:
            return
        self._looked = now
        try:
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_ino)
        except OSError:
            stamp = (0, 0)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        self._servers = system_resolvers(self._path)
        self._cache.clear()
        self._close_sockets()

    def _close_sockets(self) -> None:
        with contextlib.suppress(RuntimeError):
            loop = asyncio.get_running_loop()
            for made in (one for some in self._sockets.values() for one in some):
                loop.remove_reader(made)
        for made in (one for some in self._sockets.values() for one in some):
            made.close()
        self._sockets.clear()


async def _exchange(server: Server, packet: bytes) -> bytes:
    """One question and its answer, each behind its length (RFC 1035 §4.2.2)."""
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(len(packet).to_bytes(2) + packet)
        size = int.from_bytes(await reader.readexactly(2))
        return await reader.readexactly(size)
    finally:
        writer.close()
