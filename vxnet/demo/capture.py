"""What is on the underlay: caught from a packet socket and read aloud with scapy's help."""

import select
import socket
import struct
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from vxnet.demo.bed import UNDERLAY
from vxnet.demo.namespace import Namespace

__all__ = ["Capture", "Sighting", "decode"]

ETH_P_ALL = 0x0003
SO_RCVBUF_BYTES = 4 << 20
PACKETS_MAX = 512
VXLAN_BYTES = 8


@dataclass(frozen=True, slots=True)
class Sighting:
    """A VXLAN packet as it was on the wire, in words."""

    at_s: float  # since the capture began
    outer_source: str
    outer_target: str
    udp_source_port: int
    udp_target_port: int
    vni: int
    inner: str
    inner_bytes: int
    inner_checksums_ok: bool

    def __str__(self) -> str:
        return (
            f"{self.at_s:7.3f} s  IP {self.outer_source} > {self.outer_target}  "
            f"UDP {self.udp_source_port} > {self.udp_target_port}  VNI {self.vni}  "
            f"[{self.inner}] {self.inner_bytes} octets"
        )


class Capture:
    """Catches UDP packets to one port on a device of a namespace, from `with` to its end.

    At most 512 are kept: this is for looking at, not for counting.
    """

    def __init__(self, place: Namespace, port: int, device: str = UNDERLAY) -> None:
        self._port = port
        self._socket = place.inside(lambda: _open(device))
        self._stop_read, self._stop_write = socket.socketpair()
        self._thread = threading.Thread(target=self._catch, name="capture")
        self._packets: list[tuple[float, bytes]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop_write.close()
        self._thread.join()
        self._stop_read.close()
        self._socket.close()

    def packets(self) -> list[bytes]:
        """The frames caught, outer Ethernet header included."""
        return [packet for _, packet in self._packets]

    def sightings(self) -> list[Sighting]:
        """The frames caught, in words; those that are no VXLAN are left out."""
        return [
            sighting
            for at_s, packet in self._packets
            for sighting in decode(packet, at_s=at_s, port=self._port)
        ]

    def _catch(self) -> None:
        began = time.monotonic()
        while True:
            ready, _, _ = select.select([self._socket, self._stop_read], [], [])
            # The rest of what was on the wire is read before the capture ends.
            if self._socket in ready:
                packet = self._socket.recv(65_535)
                if is_udp_to(packet, self._port) and len(self._packets) < PACKETS_MAX:
                    self._packets.append((time.monotonic() - began, packet))
            elif self._stop_read in ready:
                return


def decode(packet: bytes, *, at_s: float = 0.0, port: int = 4789) -> list[Sighting]:
    """Read an outer Ethernet frame; nothing comes of one that is no VXLAN to this port.

    Between namespaces a burst (UDP_SEGMENT) stays one packet, which no card has cut: it holds
    several datagrams.
    """
    # scapy takes most of a second to import, and only this function needs it.
    from scapy.layers.inet import IP, UDP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import Ether
    from scapy.layers.vxlan import VXLAN
    from scapy.packet import Padding

    outer = Ether(packet).payload
    udp = outer.payload
    if not isinstance(outer, IP | IPv6) or not isinstance(udp, UDP) or udp.dport != port:
        return []
    found = []
    payload = bytes(udp.payload)
    while payload:
        header, octets = payload[:VXLAN_BYTES], payload[VXLAN_BYTES:]
        inner = Ether(octets)
        # What scapy takes for padding may be that, or the next datagram of a burst.
        payload = bytes(inner[Padding]) if Padding in inner else b""
        if payload.startswith(header):
            inner = Ether(octets[: len(octets) - len(payload)])
        else:
            payload = b""
        found.append(
            Sighting(
                at_s=at_s,
                outer_source=outer.src,
                outer_target=outer.dst,
                udp_source_port=udp.sport,
                udp_target_port=udp.dport,
                vni=VXLAN(header).vni,
                inner=inner.summary(),
                inner_bytes=len(inner),
                inner_checksums_ok=checksums_ok(inner),
            )
        )
    return found


def checksums_ok(frame: Any) -> bool:
    """Whether scapy, computing every checksum of a frame anew, comes to the same octets.

    Of a fragment only the IP header can be judged.
    """
    again = type(frame)(bytes(frame))
    layer = again
    while layer.payload:
        layer = layer.payload
        for name in ("chksum", "cksum"):
            if name in layer.fields:
                delattr(layer, name)
        if layer.name == "IP" and (layer.flags.MF or layer.frag):
            break
        if layer.name == "IPv6 Extension Header - Fragmentation header":
            break
    return bytes(again) == bytes(frame)


def is_udp_to(packet: bytes, port: int) -> bool:
    """Whether an Ethernet frame holds UDP to this port, over IPv4 or IPv6 without extensions."""
    kind = packet[12:14]
    if kind == b"\x08\x00" and len(packet) >= 42 and packet[23] == socket.IPPROTO_UDP:
        at = 14 + 4 * (packet[14] & 0x0F)
    elif kind == b"\x86\xdd" and len(packet) >= 62 and packet[20] == socket.IPPROTO_UDP:
        at = 54
    else:
        return False
    return packet[at + 2 : at + 4] == struct.pack("!H", port)


def _open(device: str) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SO_RCVBUF_BYTES)
    opened.bind((device, ETH_P_ALL))
    return opened
