"""Connections that arrive at a port of the host, passed on to members of a service."""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Collection
from typing import Final, cast

from vxnet.relays.base import BACKLOG, Bound, Chooser, SocketMaker, Target, listener, plain
from vxnet.relays.sources import (
    ANSWERED_WITHIN_S,
    Source,
    Sources,
    borrow,
    is_taken,
    keep_known,
)
from vxnet.wire.proxy_protocol import header

__all__ = ["StreamRelay"]

TRIES: Final = 3
CONNECT_WITHIN_S: Final = 3.0
SHUNNED_S: Final = 10.0
"""How long a member that took no connection is passed over where there are others."""
WAITING_BYTES_MAX: Final = 1 << 18  # of one direction, where the other side is slower


class _Side(asyncio.Protocol):
    """One end of a connection: what it hears is told to the other."""

    def __init__(self, connection: "_Connection") -> None:
        self.connection = connection
        self.other: _Side | None = None
        self.transport: asyncio.Transport | None = None
        self.has_ended = False
        self.early: list[bytes] = []  # heard before the other was there

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is one in all but name.
        self.transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=WAITING_BYTES_MAX)
        self.connection.met(self)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self.early.append(data)
            if self.transport is not None:
                self.transport.pause_reading()
        elif self.other.transport is not None:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        self.has_ended = True
        other = self.other
        if other is None:
            return True
        if other.transport is None or other.has_ended:
            return False
        other.transport.write_eof()
        return True  # the other way may go on

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        self.connection.lost(self, error)


class _Connection:
    """A client's connection, and the one to its member."""

    def __init__(self, relay: "StreamRelay") -> None:
        self.client = _Side(self)
        self.member = _Side(self)
        self.source: Source | None = None
        self.target: Target | None = None
        self.work: asyncio.Task[None] | None = None
        self._relay = relay

    @property
    def is_taken(self) -> bool:
        """Whether a member has it."""
        return self.client.other is not None

    def met(self, side: _Side) -> None:
        """One of the two is there."""
        if side is self.client:
            self._relay.begin(self)
        elif self.client.transport is None:
            self.abort()

    def lost(self, side: _Side, error: Exception | None) -> None:
        """One of the two is gone, and so the other is soon."""
        other = self.member if side is self.client else self.client
        if other.transport is not None:
            if error is None:
                other.transport.close()
            else:
                other.transport.abort()
        elif side is self.client or self.member.transport is None:
            self._relay.end(self)

    def abort(self) -> None:
        """Both are told by a reset."""
        for side in (self.client, self.member):
            if side.transport is not None:
                _reset(side.transport)


def _end(transport: asyncio.Transport, name: str) -> Source | None:
    """Address and port of the peer, or of this side; None where it is gone already."""
    end = transport.get_extra_info(name)
    return None if end is None else (plain(end[0]), end[1])


def _reset(transport: asyncio.Transport) -> None:
    under = transport.get_extra_info("socket")
    if under is not None:
        with contextlib.suppress(OSError):
            # No lingering: the peer hears a reset, and not that all was said.
            under.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    transport.abort()


class StreamRelay:
    """One published port of TCP."""

    def __init__(
        self,
        port: int,
        choose: Chooser,
        make_socket: SocketMaker,
        bound: Bound,
        sources: Sources,
        *,
        proxy_protocol: bool = False,
    ) -> None:
        self.held: Counter[bytes] = Counter()
        self._port = port
        self._choose = choose
        self._make_socket = make_socket
        self._bound = bound
        self._sources = sources
        self._proxy_protocol = proxy_protocol
        self._server: asyncio.Server | None = None
        self._shunned: dict[bytes, float] = {}  # members that took none, and until when
        self._connections: set[_Connection] = set()

    def __len__(self) -> int:
        return len(self._connections)

    async def open(self) -> None:
        """Take connections. Raises HostError where the port is taken."""
        opened = listener(socket.SOCK_STREAM, self._port)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self).client, sock=opened, backlog=BACKLOG
        )

    def stop(self) -> None:
        """Take no more; those there are go on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def abort(self) -> None:
        """End all there are."""
        for connection in list(self._connections):
            self._abort(connection)

    def keep(self, members: Collection[bytes]) -> None:
        """End what goes to anybody else: those are gone."""
        for connection in list(self._connections):
            target = connection.target
            # One that is not taken yet goes to another soon.
            if target is not None and connection.is_taken and target.member not in members:
                self._abort(connection)

    def begin(self, connection: _Connection) -> None:
        """A client is there."""
        transport = connection.client.transport
        assert transport is not None
        connection.source = _end(transport, "peername")
        if connection.source is None or not self._bound.take():
            _reset(transport)
            return
        self._bound.counters["ingress_accepted"] += 1
        self._connections.add(connection)
        connection.work = asyncio.get_running_loop().create_task(self._serve(connection))

    def end(self, connection: _Connection) -> None:
        """Both sides are gone."""
        if connection in self._connections:
            self._connections.remove(connection)
            self._bound.give_back()
            if connection.target is not None:
                self._release(connection.target)
            if connection.work is not None:
                connection.work.cancel()

    def _abort(self, connection: _Connection) -> None:
        if connection.work is not None:
            connection.work.cancel()
        connection.abort()

    async def _serve(self, connection: _Connection) -> None:
        """Find a member that takes it; then data goes by itself."""
        tried: set[bytes] = set()
        client = connection.source
        assert client is not None
        while len(tried) < TRIES and connection.client.transport is not None:
            target = self._choose_willing(tried, client)
            if target is None:
                break
            tried.add(target.member)
            self.held[target.member] += 1
            connection.target = target
            try:
                await self._connect(connection, target, client)
            except (OSError, TimeoutError):
                connection.target = None
                self._release(target)
                self._shunned[target.member] = asyncio.get_running_loop().time() + SHUNNED_S
                continue
            self._join(connection, target)
            return
        self._bound.counters["ingress_failed"] += 1
        connection.abort()

    def _choose_willing(self, tried: set[bytes], client: Source) -> Target | None:
        now = asyncio.get_running_loop().time()
        self._shunned = {member: until for member, until in self._shunned.items() if now < until}
        address, _ = client
        return self._choose(self.held, tried | self._shunned.keys(), address) or self._choose(
            self.held, tried, address
        )

    async def _connect(self, connection: _Connection, target: Target, client: Source) -> None:
        loop = asyncio.get_running_loop()
        made = await self._reach(target, client)
        await loop.create_connection(lambda: connection.member, sock=made)

    async def _reach(self, target: Target, client: Source) -> socket.socket:
        """Connect to a member: as the client, or as this host where that is not answered."""
        member, now = target.member, asyncio.get_running_loop().time()
        wanted = self._sources.wanted(target, client, now)
        for source in wanted:
            try:
                made = await self._reach_as(source, target, ANSWERED_WITHIN_S)
            except TimeoutError:
                if not self._sources.is_answering(member):
                    break
            except OSError as error:
                if not is_taken(error):
                    raise
            else:
                self._sources.answered(member)
                return made
        if wanted and self._sources.is_answering(member):
            raise TimeoutError  # it does not want this client
        made = await self._reach_as(None, target, CONNECT_WITHIN_S)
        if wanted:
            self._bound.counters["ingress_unanswered"] += 1
            self._sources.was_silent(member, now)
        return made

    async def _reach_as(
        self, source: Source | None, target: Target, within_s: float
    ) -> socket.socket:
        loop = asyncio.get_running_loop()
        made = await self._make_socket(target.family, socket.SOCK_STREAM)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if source is not None:
                keep_known(made)
                borrow(made, source)
            async with asyncio.timeout(within_s):
                await loop.sock_connect(made, (str(target.address), target.port))
        except BaseException:
            made.close()
            raise
        return made

    def _join(self, connection: _Connection, target: Target) -> None:
        client, member = connection.client, connection.member
        if member.transport is None or client.transport is None:
            connection.abort()
            return
        under = client.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            under.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            under.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._proxy_protocol:
            here = _end(client.transport, "sockname")
            if connection.source is None or here is None:
                connection.abort()
                return
            member.transport.write(header(connection.source, here))
        client.other, member.other = member, client
        for near, far in ((client, member), (member, client)):
            assert near.transport is not None
            assert far.transport is not None
            far.transport.writelines(near.early)
            near.early.clear()
            if near.has_ended:
                far.transport.write_eof()
            else:
                near.transport.resume_reading()

    def _release(self, target: Target) -> None:
        self.held[target.member] -= 1
        if not self.held[target.member]:
            del self.held[target.member]
