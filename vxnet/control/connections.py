"""The gossip's TCP connections, numbered as the node numbers them."""

import asyncio
from collections import Counter
from typing import Protocol, cast

from vxnet.control.address import from_socket, to_socket
from vxnet.errors import HostError
from vxnet.gossip.hub import StreamId
from vxnet.gossip.member import Address

__all__ = ["Connections", "Hears"]

CONNECT_S = 5.0


class Hears(Protocol):
    """Whoever the connections are for."""

    def accepted(self, source: Address) -> StreamId | None: ...

    def connected(self, stream: StreamId) -> None: ...

    def stream_received(self, stream: StreamId, data: bytes) -> None: ...

    def stream_drained(self, stream: StreamId) -> None: ...

    def stream_closed(self, stream: StreamId) -> None: ...


class Connection(asyncio.Protocol):
    """One of them, from either side."""

    def __init__(self, owner: "Connections", stream: StreamId | None) -> None:
        self._owner = owner
        self.stream = stream
        self.transport: asyncio.Transport | None = None
        self.waiting = False  # something was sent, and the node wants to know when it went
        self.paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._owner.made(self)

    def data_received(self, data: bytes) -> None:
        if self.stream is not None:
            self._owner.hears.stream_received(self.stream, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.lost(self)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.drained()

    def drained(self) -> None:
        """Say once that what was sent is on its way."""
        if self.waiting and not self.paused and self.stream is not None:
            self.waiting = False
            self._owner.hears.stream_drained(self.stream)


class Connections:
    """Listens, dials, and carries octets."""

    def __init__(self, hears: Hears, counters: Counter[str]) -> None:
        self.hears = hears
        self._counters = counters
        self._server: asyncio.Server | None = None
        self._open: dict[StreamId, Connection] = {}
        self._dialling: dict[StreamId, asyncio.Task[None]] = {}
        self._host = ""

    async def open(self, host: str, port: int) -> None:
        """Listen. Raises HostError where the system refuses."""
        self._host = host
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: Connection(self, None), host, port, backlog=64
            )
        except OSError as error:
            raise HostError(
                f"gossip cannot use TCP {host} port {port}: {error.strerror}; is another daemon"
                " running?"
            ) from None

    def dial(self, stream: StreamId, address: Address) -> None:
        """Open a connection; `connected` or `stream_closed` follows."""
        task = asyncio.create_task(self._dial(stream, address), name=f"gossip-dial-{stream}")
        self._dialling[stream] = task

    async def _dial(self, stream: StreamId, address: Address) -> None:
        host, port = to_socket(address)
        connection = Connection(self, stream)
        try:
            async with asyncio.timeout(CONNECT_S):
                await asyncio.get_running_loop().create_connection(
                    lambda: connection, host, port, local_addr=(self._host, 0)
                )
        except (OSError, TimeoutError):
            self._dialling.pop(stream, None)
            self._counters["dials_failed"] += 1
            self.hears.stream_closed(stream)
            return
        self._dialling.pop(stream, None)
        self.hears.connected(stream)

    def send(self, stream: StreamId, data: bytes) -> None:
        """Send octets; `stream_drained` follows."""
        connection = self._open.get(stream)
        if connection is None or connection.transport is None:
            return
        connection.waiting = True
        connection.transport.write(data)
        asyncio.get_running_loop().call_soon(connection.drained)

    def hang_up(self, stream: StreamId) -> None:
        """Close after what was sent; nothing follows."""
        task = self._dialling.pop(stream, None)
        if task is not None:
            task.cancel()
        connection = self._open.pop(stream, None)
        if connection is not None and connection.transport is not None:
            connection.stream = None
            connection.transport.close()

    async def close(self) -> None:
        """Stop listening and end every connection."""
        for stream in list(self._open):
            self.hang_up(stream)
        tasks = list(self._dialling.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._dialling.clear()
        if self._server is not None:
            self._server.close()
            self._server = None

    # ── what connections say ────────────────────────────────────────────────────────────────

    def made(self, connection: Connection) -> None:
        """A connection is open, one of ours or another's."""
        transport = connection.transport
        if transport is None:
            return
        if connection.stream is None:
            host, port = transport.get_extra_info("peername")[:2]
            stream = self.hears.accepted(from_socket(host, port))
            if stream is None:
                transport.abort()
                return
            connection.stream = stream
        self._open[connection.stream] = connection

    def lost(self, connection: Connection) -> None:
        """A connection is over."""
        stream = connection.stream
        if stream is not None and self._open.get(stream) is connection:
            del self._open[stream]
            connection.stream = None
            self.hears.stream_closed(stream)
