"""A datapath with tests at all its ends: memory links for hosts, plain UDP sockets for peers."""

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from vxnet.datapath.base import (
    Change,
    Counters,
    Datapath,
    DatapathSettings,
    Peer,
    Port,
    Segment,
    SetEntry,
    SetPeers,
    Stats,
)
from vxnet.datapath.select import select
from vxnet.link.memory import MemoryLink
from vxnet.switch.actions import PortId
from vxnet.wire import vxlan
from vxnet.wire.addr import Ip, Mac, Vni, Vtep, parse_ip, parse_mac

__all__ = [
    "MTU",
    "VNI",
    "Arrived",
    "RemoteVtep",
    "Stage",
    "ethernet_frame",
    "mac",
    "never_lost",
]

VNI = Vni(42)
MTU = 1450

_DEADLINE_S = 20.0  # of anything that should happen; generous, machines are busy
_SOL_UDP, _UDP_SEGMENT, _SO_NO_CHECK = 17, 103, 11
_UDP_NO_CHECK6_TX, _UDP_NO_CHECK6_RX = 101, 102


def mac(number: int) -> Mac:
    """The station of that number."""
    return parse_mac(f"02:00:00:00:00:{number:02x}")


def ethernet_frame(
    destination: bytes, source: bytes, payload: bytes = b"x" * 46, ethertype: int = 0x88B5
) -> bytes:
    """A frame of a kind no switch looks into (IEEE's experimental ethertype)."""
    return destination + source + struct.pack("!H", ethertype) + payload


class Arrived(NamedTuple):
    """A datagram a peer got."""

    header: bytes
    frame: bytes
    source_port: int
    tos: int

    @property
    def vni(self) -> Vni:
        """Of the network."""
        return vxlan.parse(self.header + self.frame)[0]


class RemoteVtep:
    """Another host, played by the test: one datagram a read, as they are on the wire."""

    def __init__(self, address: str, port: int) -> None:
        self.vtep = Vtep(parse_ip(address), port)
        self._v6 = ":" in address
        family = socket.AF_INET6 if self._v6 else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_388_608)
        if self._v6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        else:
            self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        self.socket.bind((address, port))

    async def receive(self, count: int) -> list[Arrived]:
        """The next datagrams, as many as asked for."""
        arrived: list[Arrived] = []
        deadline = time.monotonic() + _DEADLINE_S
        while len(arrived) < count:
            one = self.poll()
            if one is not None:
                arrived.append(one)
                continue
            assert time.monotonic() < deadline, f"{len(arrived)} of {count} datagrams came"
            await asyncio.sleep(0.002)
        return arrived

    def poll(self) -> Arrived | None:
        """A datagram that is there already."""
        try:
            data, ancillary, _, address = self.socket.recvmsg(70_000, 64)
        except BlockingIOError:
            return None
        tos = ancillary[0][2][0] if ancillary else 0
        return Arrived(data[:8], data[8:], address[1], tos)

    def send(self, to: Vtep, *datagrams: bytes, tos: int = 0) -> None:
        """Send datagrams one by one."""
        for datagram in datagrams:
            self.socket.sendmsg([datagram], self._tos(tos), 0, self._address(to))

    def send_burst(self, to: Vtep, datagrams: Sequence[bytes], tos: int = 0) -> None:
        """Send equal datagrams (the last may be shorter) so that they arrive as one burst."""
        size = (_SOL_UDP, _UDP_SEGMENT, struct.pack("=H", len(datagrams[0])))
        self.socket.sendmsg([b"".join(datagrams)], [size, *self._tos(tos)], 0, self._address(to))

    def leave_checksums_out(self) -> None:
        """Send with an outer UDP checksum of zero from now on."""
        if self._v6:
            self.socket.setsockopt(_SOL_UDP, _UDP_NO_CHECK6_TX, 1)
        else:
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)

    def accept_zero_checksums(self) -> None:
        """Take them over IPv6 too."""
        self.socket.setsockopt(_SOL_UDP, _UDP_NO_CHECK6_RX, 1)

    def _tos(self, tos: int) -> list[tuple[int, int, bytes]]:
        if self._v6:
            return [(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, struct.pack("=i", tos))]
        return [(socket.IPPROTO_IP, socket.IP_TOS, struct.pack("=i", tos))]

    def _address(self, to: Vtep) -> tuple[str, int]:
        family = socket.AF_INET6 if self._v6 else socket.AF_INET
        return socket.inet_ntop(family, to.ip), to.port


class Stage:
    """One datapath of one kind, a network, and what is put around it."""

    def __init__(
        self,
        kind: str,
        *,
        version: int = 4,
        vxlan_port: int | None = None,
        settings: DatapathSettings | None = None,
    ) -> None:
        self.address = "127.0.0.1" if version == 4 else "::1"
        self.vtep = Vtep(parse_ip(self.address), vxlan_port or _free_port(self.address))
        self.datapath: Datapath = select(kind, self.vtep, settings)[0]
        self.remotes: list[RemoteVtep] = []
        self.links: dict[PortId, MemoryLink] = {}
        self.heard: list[object] = []
        self._peers: dict[Vni, tuple[Peer, ...]] = {}
        self.datapath.subscribe(self.heard.extend)

    async def start(self) -> None:
        await self.datapath.start()
        self.datapath.set_segment(Segment(VNI, MTU))

    async def close(self) -> None:
        await self.datapath.close()
        for link in self.links.values():
            link.close()
        for remote in self.remotes:
            remote.socket.close()

    def port(
        self,
        number: int,
        *,
        vni: Vni = VNI,
        station: Mac | None = None,
        ips: tuple[Ip, ...] = (),
        guarded: bool = True,
        uso: bool = True,
    ) -> MemoryLink:
        """Attach a host; its port and station have that number. Unguarded, it may be anybody."""
        link = self.links[PortId(number)] = MemoryLink(f"port{number}", uso=uso)
        owner = (station or mac(number)) if guarded else None
        self.datapath.add_port(Port(PortId(number), vni, owner, ips), link)
        return link

    def remote(
        self,
        address: str = "127.0.0.2",
        *stations: int,
        vni: Vni = VNI,
        learning: bool = False,
        completes: bool = False,
        vxlan_port: int | None = None,
    ) -> RemoteVtep:
        """Another host that has the network, and stations there that the control plane knows."""
        chosen = self.vtep.port if vxlan_port is None else vxlan_port
        if address == self.address and vxlan_port is None:
            chosen = _free_port(address)
        remote = RemoteVtep(address, chosen)
        self.remotes.append(remote)
        self.join(remote, *stations, vni=vni, learning=learning, completes=completes)
        return remote

    def join(
        self,
        remote: RemoteVtep,
        *stations: int,
        vni: Vni = VNI,
        learning: bool = False,
        completes: bool = False,
    ) -> None:
        """A host has a network too."""
        peer = Peer(remote.vtep, learning, completes_checksums=completes)
        self._peers[vni] = (*self._peers.get(vni, ()), peer)
        changes: list[Change] = [SetPeers(vni, self._peers[vni])]
        changes += [SetEntry(vni, mac(number), remote.vtep) for number in stations]
        self.datapath.program(changes)

    @property
    def stats(self) -> Stats:
        return self.datapath.stats()

    async def frames(self, link: MemoryLink, count: int) -> list[tuple[bytes, bytes]]:
        """What a host was sent, `virtio_net_hdr` and frame, as many as asked for."""
        arrived: list[tuple[bytes, bytes]] = []

        def enough() -> bool:
            while (one := link.receive()) is not None:
                arrived.append(one)
            return len(arrived) >= count

        await self.until(enough)
        assert len(arrived) == count
        return arrived

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + _DEADLINE_S
        while not holds():
            assert time.monotonic() < deadline, f"it never came to hold; {self.stats}"
            await asyncio.sleep(0.002)

    async def counted(self, where: Callable[[Stats], Counters], frames: int) -> Counters:
        """Wait until so many frames have entered somewhere and ended; what became of them."""
        counters = where(self.stats)

        def all_ended() -> bool:
            nonlocal counters
            counters = where(self.stats)  # once: between two looks a frame may come
            return never_lost(counters) and counters.received >= frames

        await self.until(all_ended)
        assert counters.received == frames
        return counters


def never_lost(counters: Counters) -> bool:
    """Whether every frame that entered ended in exactly one counter."""
    ended = counters.delivered + counters.sent + counters.flooded + counters.replied
    return counters.received == ended + sum(counters.drops.values())


def _free_port(address: str) -> int:
    """A UDP port that nobody has on any of the test's addresses."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))
        port: int = probe.getsockname()[1]
        return port
