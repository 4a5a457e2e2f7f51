"""Datagrams that arrive at a port of the host, passed on to members of a service."""

import asyncio
import contextlib
import socket
from collections import Counter, OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from vxnet.host.arrivals import arrivals
from vxnet.relays.base import Bound, Chooser, SocketMaker, Target, listener, plain
from vxnet.relays.sources import Source, Sources, borrow, is_taken

__all__ = ["SESSION_IDLE_S", "DatagramRelay"]

SESSION_IDLE_S: Final = 60.0
SESSION_QUEUE_MAX: Final = 16
BATCH: Final = 64
DATAGRAM_MAX: Final = 65_535
_PKTINFO: Final = socket.IPV6_PKTINFO
_ANCILLARY: Final = socket.CMSG_SPACE(20)


@dataclass(slots=True)
class _Session:
    """A client of datagrams, and the member it was given."""

    client: tuple[Any, ...]
    here: bytes  # which address of the host it asked
    seen: float
    target: Target | None = None
    way: socket.socket | None = None
    waiting: list[bytes] = field(default_factory=list)


class DatagramRelay:
    """One published port of UDP: a client's datagrams go to one member, while they come."""

    def __init__(
        self,
        port: int,
        choose: Chooser,
        make_socket: SocketMaker,
        bound: Bound,
        sources: Sources,
    ) -> None:
        self.held: Counter[bytes] = Counter()
        self._port = port
        self._choose = choose
        self._make_socket = make_socket
        self._bound = bound
        self._sources = sources
        self._socket: socket.socket | None = None
        self._sessions: OrderedDict[tuple[Any, ...], _Session] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._sessions)

    async def open(self) -> None:
        """Take datagrams. Raises HostError where the port is taken."""
        self._socket = listener(socket.SOCK_DGRAM, self._port)
        if self._socket.family == socket.AF_INET6:
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        asyncio.get_running_loop().add_reader(self._socket, self._receive)

    def stop(self) -> None:
        """Take no more. What members answer could not be sent on, so that is over too."""
        self.abort()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def abort(self) -> None:
        """End all there are."""
        for key in list(self._sessions):
            self._end(key)

    def keep(self, members: Collection[bytes]) -> None:
        """Give clients of anybody else another member; and forget who was silent."""
        now = asyncio.get_running_loop().time()
        for key, session in list(self._sessions.items()):
            gone = session.target is not None and session.target.member not in members
            if gone or now - session.seen > SESSION_IDLE_S:
                self._end(key)

    def _receive(self) -> None:
        assert self._socket is not None
        for _ in range(BATCH):
            try:
                data, ancillary, _, client = self._socket.recvmsg(DATAGRAM_MAX, _ANCILLARY)
            except BlockingIOError:
                return
            except OSError:  # what ICMP told of an earlier answer
                continue
            here = next((d for level, kind, d in ancillary if kind == _PKTINFO), b"")
            self._pass_on(client, here, data)

    def _pass_on(self, client: tuple[Any, ...], here: bytes, data: bytes) -> None:
        key = (client, here)
        session = self._sessions.get(key)
        now = asyncio.get_running_loop().time()
        if session is None:
            if not self._bound.take():
                return
            self._bound.counters["ingress_accepted"] += 1
            session = self._sessions[key] = _Session(client, here, now)
            task = asyncio.get_running_loop().create_task(self._begin(key, session))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        session.seen = now
        if session.way is None:
            if len(session.waiting) < SESSION_QUEUE_MAX:
                session.waiting.append(data)
            return
        with contextlib.suppress(OSError):
            session.way.send(data)

    async def _begin(self, key: tuple[Any, ...], session: _Session) -> None:
        address = plain(session.client[0])
        target = self._choose(self.held, (), address)
        if target is None:
            self._bound.counters["ingress_failed"] += 1
            self._end(key)
            return
        session.target = target
        self.held[target.member] += 1
        try:
            way = await self._reach(target, (address, session.client[1]))
        except OSError:
            self._bound.counters["ingress_failed"] += 1
            self._end(key)
            return
        if self._sessions.get(key) is not session:  # ended meanwhile
            way.close()
            return
        session.way = way
        asyncio.get_running_loop().add_reader(way, partial(self._answer, session))
        for data in session.waiting:
            with contextlib.suppress(OSError):
                way.send(data)
        session.waiting.clear()

    async def _reach(self, target: Target, client: Source) -> socket.socket:
        """A socket that speaks to a member: as the client, where that can be answered."""
        now = asyncio.get_running_loop().time()
        for source in (*self._sources.wanted(target, client, now), None):
            made = await self._make_socket(target.family, socket.SOCK_DGRAM)
            try:
                if source is not None:
                    borrow(made, source)
                made.connect((str(target.address), target.port))
            except OSError as error:
                made.close()
                if source is None or not is_taken(error):
                    raise
            else:
                return made
        raise AssertionError

    def _answer(self, session: _Session) -> None:
        assert session.way is not None
        session.seen = asyncio.get_running_loop().time()
        with contextlib.suppress(OSError):  # what ICMP told of the member
            for data in arrivals(session.way, partial(self._answer, session)):
                self._tell(session, data)

    def _tell(self, session: _Session, data: bytes) -> None:
        # From the address that was asked, where the host has several.
        control = [(socket.IPPROTO_IPV6, _PKTINFO, session.here[:16] + bytes(4))]
        with contextlib.suppress(OSError):
            if self._socket is not None:
                self._socket.sendmsg([data], control if session.here else [], 0, session.client)

    def _end(self, key: tuple[Any, ...]) -> None:
        session = self._sessions.pop(key, None)
        if session is None:
            return
        self._bound.give_back()
        if session.way is not None:
            asyncio.get_running_loop().remove_reader(session.way)
            session.way.close()
        if session.target is not None:
            self.held[session.target.member] -= 1
            if not self.held[session.target.member]:
                del self.held[session.target.member]
