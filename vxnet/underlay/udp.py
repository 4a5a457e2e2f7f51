"""VXLAN's datagrams over UDP sockets: bursts with UDP_SEGMENT and UDP_GRO, one system call each.

One socket receives on the VXLAN port. Datagrams leave from a pool of sockets, so that the source
port tells flows apart (RFC 7348 §5), and never fragmented.
"""

import random
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from errno import EADDRINUSE, EADDRNOTAVAIL, EAGAIN, EINVAL, EIO, EMSGSIZE, ENOBUFS, ENOMEM
from typing import NamedTuple

from vxnet.errors import HostError
from vxnet.switch.actions import DropReason
from vxnet.underlay.base import BURST_BYTES, BURST_DATAGRAMS, Burst, Refusal
from vxnet.wire.addr import Ip, Vtep, format_ip

__all__ = ["UdpSettings", "UdpUnderlay", "explain", "source_ports"]

# linux/udp.h, linux/in.h, linux/in6.h, asm-generic/socket.h: what Python does not name
_UDP_NO_CHECK6_TX, _UDP_NO_CHECK6_RX, _UDP_SEGMENT, _UDP_GRO = 101, 102, 103, 104
_SO_NO_CHECK, _SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 11, 32, 33
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER = 10, 23
# Set DF, and believe the device's MTU only: an ICMP message may come from anybody (RFC 8899 §4.5).
_PMTUDISC_PROBE = 3

_SOURCE_PORTS = range(49152, 65536)  # RFC 7348 §5: the dynamic ports
_ILL_FATED_PORT = 65330  # some middleboxes drop it
_TRIES = 100

_GSO_REFUSED = frozenset({EIO, EINVAL, EMSGSIZE})
_FULL = frozenset({EAGAIN, ENOBUFS, ENOMEM})

_SOURCES_MAX = 4096  # texts of senders kept; anybody can send from any address
_SHAPES_MAX = 4096  # control messages kept: one for each datagram size and traffic class
_ERRORS_MAX = 16  # reported by a socket before the next burst is looked for again later

_Ancillary = list[tuple[int, int, bytes]]


@dataclass(frozen=True, slots=True)
class UdpSettings:
    """How datagrams travel."""

    source_ports: int = 16  # sockets that datagrams leave from, so as many paths at most
    checksum: bool = True  # the outer UDP checksum; over IPv6 without it both ends must agree
    receive_buffer_bytes: int = 16_777_216
    send_buffer_bytes: int = 4_194_304


class _Family(NamedTuple):
    """What the two Internet protocols call the same thing."""

    domain: socket.AddressFamily
    level: int
    mtu_discover: int
    receive_tos: int
    tos: int
    address: tuple[int, ...]  # what follows address and port in a socket address


_FAMILIES = {
    4: _Family(
        socket.AF_INET, socket.IPPROTO_IP, _IP_MTU_DISCOVER, socket.IP_RECVTOS, socket.IP_TOS, ()
    ),
    16: _Family(
        socket.AF_INET6,
        socket.IPPROTO_IPV6,
        _IPV6_MTU_DISCOVER,
        socket.IPV6_RECVTCLASS,
        socket.IPV6_TCLASS,
        (0, 0),
    ),
}


class UdpUnderlay:
    """The sockets of one VTEP, IPv4 or IPv6."""

    def __init__(self, local: Vtep, settings: UdpSettings | None = None) -> None:
        self._local = local
        self._settings = settings if settings is not None else UdpSettings()
        self._family = _FAMILIES[len(local.ip)]
        self._receiver: socket.socket | None = None
        self._pool: list[socket.socket] = []
        self._addresses: dict[Vtep, tuple[object, ...]] = {}
        self._sources: dict[str, Ip] = {}
        self._ancillary: dict[tuple[int, int], _Ancillary] = {}
        self._ancillary_bytes = 2 * socket.CMSG_SPACE(4)
        self._gso_refused_by: set[Vtep] = set()
        # The kernel cuts no datagrams it is not to write checksums for (net/ipv4/udp.c).
        self._gso = self._settings.checksum
        self._counters = {"gso_fallbacks": 0, "receive_errors": 0, "send_errors": 0}

    @property
    def fd(self) -> int:
        """What becomes readable when a burst is there."""
        assert self._receiver is not None
        return self._receiver.fileno()

    def open(self, inherited: Sequence[int] = ()) -> None:
        """Take the port, and the source ports. Raises HostError where the system refuses."""
        own, *rest = (socket.socket(fileno=fd) for fd in inherited) if inherited else (None,)
        for more in rest:  # a datapath with threads had one each
            more.close()
        try:
            self._receiver = self._open_receiver(own)
            for _ in range(self._settings.source_ports):
                self._pool.append(self._open_sender())
        except OSError as error:
            self.close()
            raise HostError(explain(self._local, error)) from error

    def listeners(self) -> tuple[int, ...]:
        """The socket that datagrams arrive at."""
        return () if self._receiver is None else (self._receiver.fileno(),)

    def close(self) -> None:
        """Give the ports back. Idempotent."""
        for sender in self._pool:
            sender.close()
        self._pool.clear()
        if self._receiver is not None:
            self._receiver.close()
            self._receiver = None

    def receive(self, buffer: memoryview) -> Burst | None:
        """The next burst, its octets in `buffer`; None when there is none now."""
        receiver = self._receiver
        if receiver is None:
            return None
        for _ in range(_ERRORS_MAX):
            try:
                size, ancillary, flags, address = receiver.recvmsg_into(
                    (buffer,), self._ancillary_bytes
                )
            except BlockingIOError:
                return None
            except OSError:
                # An ICMP error of some datagram; the socket is as good as before.
                self._counters["receive_errors"] += 1
                continue
            stride, tos = size, 0
            for level, kind, value in ancillary:
                if level == socket.SOL_UDP:
                    stride = int.from_bytes(value, sys.byteorder)
                elif kind == self._family.tos:
                    tos = value[0] if len(value) == 1 else int.from_bytes(value, sys.byteorder)
            source = self._sources.get(address[0])
            if source is None:
                source = self._source(address[0])
            return Burst(size, stride, source, tos, bool(flags & socket.MSG_TRUNC))
        return None

    def send(
        self, to: Vtep, flow: int, tos: int, parts: Sequence[memoryview], stride: int
    ) -> Refusal | None:
        """Send datagrams that lie one behind the other in `parts`, `stride` octets each.

        There is one part with them all, or a part for each. Returns what did not leave, or None.
        """
        pool = self._pool
        address = self._addresses.get(to)
        if address is None:
            address = self._address(to)
        sender = pool[flow % len(pool)]
        first = parts[0]
        if len(parts) == 1 and len(first) <= stride:
            try:
                sender.sendmsg(parts, self._ancillary_for(0, tos), 0, address)
            except OSError as error:
                return Refusal(1, self._reason(error))
            return None
        if not self._gso or to in self._gso_refused_by:
            return self._send_plainly(sender, address, tos, _datagrams(parts, stride))
        most = min(BURST_DATAGRAMS, BURST_BYTES // stride)
        if len(parts) == 1:
            step = most * stride
            bursts: list[Sequence[memoryview]] = (
                [parts]
                if len(first) <= step
                else [(first[at : at + step],) for at in range(0, len(first), step)]
            )
        else:
            bursts = [parts[at : at + most] for at in range(0, len(parts), most)]
        refusal: Refusal | None = None
        ancillary = self._ancillary_for(stride, tos)
        for burst in bursts:
            try:
                sender.sendmsg(burst, ancillary, 0, address)
            except OSError as error:
                refused = self._retry(sender, to, tos, list(_datagrams(burst, stride)), error)
                refusal = _both(refusal, refused)
        return refusal

    def forget(self, to: Vtep) -> None:
        """A peer left: what was found out about the way to it is void."""
        self._addresses.pop(to, None)
        self._gso_refused_by.discard(to)

    def counters(self) -> Mapping[str, int]:
        """GSO sends repeated plainly, and errors that sockets reported."""
        return dict(self._counters)

    # Sending

    def _retry(
        self,
        sender: socket.socket,
        to: Vtep,
        tos: int,
        datagrams: list[memoryview],
        error: OSError,
    ) -> Refusal | None:
        """A burst was refused: where the bursting may be at fault, send the same bytes plainly."""
        if error.errno not in _GSO_REFUSED:
            return Refusal(len(datagrams), self._reason(error))
        self._counters["gso_fallbacks"] += 1
        refusal = self._send_plainly(sender, self._addresses[to], tos, iter(datagrams))
        if refusal is None or refusal.datagrams < len(datagrams):
            # What went plainly shows that it was not the datagrams.
            self._gso_refused_by.add(to)
        return refusal

    def _send_plainly(
        self,
        sender: socket.socket,
        address: tuple[object, ...],
        tos: int,
        datagrams: Iterator[memoryview],
    ) -> Refusal | None:
        """One system call a datagram."""
        refusal: Refusal | None = None
        ancillary = self._ancillary_for(0, tos)
        for datagram in datagrams:
            try:
                sender.sendmsg((datagram,), ancillary, 0, address)
            except OSError as error:
                refusal = _both(refusal, Refusal(1, self._reason(error)))
        return refusal

    def _reason(self, error: OSError) -> DropReason:
        if error.errno in _FULL:
            return DropReason.UNDERLAY_FULL
        if error.errno == EMSGSIZE:
            return DropReason.TOO_BIG
        self._counters["send_errors"] += 1
        return DropReason.UNDERLAY_ERROR

    def _ancillary_for(self, stride: int, tos: int) -> _Ancillary:
        """The control messages of a send; made once for each size there is."""
        made = self._ancillary.get((stride, tos))
        if made is None:
            made = []
            if stride:
                made.append((socket.SOL_UDP, _UDP_SEGMENT, stride.to_bytes(2, sys.byteorder)))
            if tos:
                value = tos.to_bytes(4, sys.byteorder)
                made.append((self._family.level, self._family.tos, value))
            if len(self._ancillary) >= _SHAPES_MAX:
                self._ancillary.clear()
            self._ancillary[stride, tos] = made
        return made

    def _address(self, to: Vtep) -> tuple[object, ...]:
        address = self._addresses[to] = (format_ip(to.ip), to.port, *self._family.address)
        return address

    def _source(self, text: str) -> Ip:
        """The sender's address as octets, kept for the next time."""
        if len(self._sources) >= _SOURCES_MAX:
            self._sources.clear()
        source = self._sources[text] = Ip(
            socket.inet_pton(self._family.domain, text.partition("%")[0])
        )
        return source

    # Opening

    def _open(self) -> socket.socket:
        opened = socket.socket(self._family.domain, socket.SOCK_DGRAM)
        opened.setblocking(False)
        if self._family.domain == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return opened

    def _open_receiver(self, inherited: socket.socket | None) -> socket.socket:
        opened = inherited or self._open()
        opened.setblocking(False)
        try:
            _set_buffer(opened, _SO_RCVBUFFORCE, self._settings.receive_buffer_bytes)
            with suppress(OSError):  # without it datagrams come one by one
                opened.setsockopt(socket.SOL_UDP, _UDP_GRO, 1)
            opened.setsockopt(self._family.level, self._family.receive_tos, 1)
            if not self._settings.checksum and self._family.domain == socket.AF_INET6:
                opened.setsockopt(socket.SOL_UDP, _UDP_NO_CHECK6_RX, 1)
            if inherited is None:
                opened.bind((format_ip(self._local.ip), self._local.port, *self._family.address))
        except OSError:
            opened.close()
            raise
        return opened

    def _open_sender(self) -> socket.socket:
        opened = self._open()
        try:
            _set_buffer(opened, _SO_SNDBUFFORCE, self._settings.send_buffer_bytes)
            # Nothing is ever read here; what strangers send to it is to cost no memory.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            opened.setsockopt(self._family.level, self._family.mtu_discover, _PMTUDISC_PROBE)
            if not self._settings.checksum:
                if self._family.domain == socket.AF_INET:
                    opened.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)
                else:
                    opened.setsockopt(socket.SOL_UDP, _UDP_NO_CHECK6_TX, 1)
            self._bind_somewhere(opened)
        except OSError:
            opened.close()
            raise
        return opened

    def _bind_somewhere(self, opened: socket.socket) -> None:
        """Take a free source port."""
        ports = source_ports(self._local, _TRIES)
        for port in ports:
            try:
                opened.bind((format_ip(self._local.ip), port, *self._family.address))
            except OSError as error:
                if error.errno != EADDRINUSE or port == ports[-1]:
                    raise
            else:
                return


def source_ports(local: Vtep, count: int) -> list[int]:
    """So many ports to try as the source of datagrams, in random order (RFC 7348 §5)."""
    ports = random.sample(_SOURCE_PORTS, count + 2)
    return [port for port in ports if port not in (_ILL_FATED_PORT, local.port)][:count]


def explain(local: Vtep, error: OSError) -> str:
    """Why the sockets of a VTEP could not be opened, and the mend."""
    what = f"cannot open the VXLAN port {local}"
    if error.errno == EADDRINUSE:
        return f"{what}: something listens there already; stop it or set another [vxlan] port"
    if error.errno == EADDRNOTAVAIL:
        return f"{what}: this host has no such address; set [node] vtep to one it has"
    return f"{what}: {error.strerror}"


def _set_buffer(opened: socket.socket, option: int, size: int) -> None:
    """Ask for a buffer beyond the system's limit, or up to it where that is not permitted."""
    plain = socket.SO_SNDBUF if option == _SO_SNDBUFFORCE else socket.SO_RCVBUF
    try:
        opened.setsockopt(socket.SOL_SOCKET, option, size)
    except PermissionError:
        opened.setsockopt(socket.SOL_SOCKET, plain, size)


def _datagrams(parts: Sequence[memoryview], stride: int) -> Iterator[memoryview]:
    """Each datagram by itself."""
    for part in parts:
        for at in range(0, len(part), stride):
            yield part[at : at + stride]


def _both(one: Refusal | None, other: Refusal | None) -> Refusal | None:
    """Two refusals as one, for the first one's reason."""
    if one is None or other is None:
        return one or other
    return Refusal(one.datagrams + other.datagrams, one.reason)
