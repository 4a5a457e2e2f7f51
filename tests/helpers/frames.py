"""Frames and super-frames built by scapy, and scapy's opinion of frames vxnet made."""

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from vxnet.wire.virtio import Flag, Gso, VnetHeader

__all__ = [
    "MAC_A",
    "MAC_B",
    "is_sound",
    "network_layer",
    "plain_frame",
    "pseudo_sum",
    "super_frame",
]

MAC_A = "02:00:00:00:00:0a"
MAC_B = "02:00:00:00:00:0b"

_HOSTS = {4: ("10.9.0.1", "10.9.0.2"), 6: ("fd09::1", "fd09::2")}


def network_layer(version: int, *, number: int = 1, options: bytes = b"", tos: int = 0) -> Packet:
    """The IP header of the tests' flow, from A to B."""
    source, destination = _HOSTS[version]
    if version == 6:
        return IPv6(src=source, dst=destination, tc=tos)
    header = IP(src=source, dst=destination, id=number, flags="DF", tos=tos)
    if options:
        header.ihl = 5 + len(options) // 4
        header.options = [Raw(options)]
    return header


def plain_frame(version: int, layer: Packet, payload: bytes = b"", **ip: int) -> bytes:
    """A frame from A to B with right lengths and checksums."""
    frame = Ether(src=MAC_A, dst=MAC_B) / network_layer(version, **ip) / layer
    return bytes(frame / Raw(payload) if payload else frame)


def super_frame(
    version: int,
    layer: TCP | UDP,
    payload: bytes,
    size: int,
    *,
    number: int = 1,
    ip_options: bytes = b"",
    tos: int = 0,
) -> tuple[bytes, VnetHeader]:
    """A frame as the kernel hands it to a TAP with offloads: to be cut into `size` each."""
    ip = network_layer(version, number=number, options=ip_options, tos=tos)
    ether = Ether(src=MAC_A, dst=MAC_B)  # both given, or scapy asks the network for them
    headers = len(ether / ip)
    frame = bytearray(bytes(ether / ip / layer / Raw(payload)))
    tcp = isinstance(layer, TCP)
    gso = (Gso.TCP4 if version == 4 else Gso.TCP6) if tcp else Gso.UDP
    at = 16 if tcp else 6
    frame[headers + at : headers + at + 2] = b"\x12\x34"  # a partial sum, to be ignored
    header = len(ether / ip / layer)
    return bytes(frame), VnetHeader(Flag.NEEDS_CHECKSUM, gso, header, size, headers, at)


def is_sound(frame: Packet) -> bool:
    """Whether every length and checksum is what scapy would have written."""
    again = frame.copy()
    for layer, fields in (
        (IP, ("len", "chksum")),
        (IPv6, ("plen",)),
        (TCP, ("chksum",)),
        (UDP, ("len", "chksum")),
    ):
        if again.haslayer(layer):
            for field in fields:
                delattr(again[layer], field)
    return bytes(again) == bytes(frame)


def pseudo_sum(frame: Packet) -> bytes:
    """What a sender leaves in the checksum field: the pseudo-header's sum, not inverted."""
    layer = frame[TCP] if frame.haslayer(TCP) else frame[UDP]
    size = len(layer)
    ip = frame[IP] if frame.haslayer(IP) else frame[IPv6]
    octets = bytes(ip)
    start, end = (12, 20) if frame.haslayer(IP) else (8, 40)
    pseudo = (
        octets[start:end] + size.to_bytes(4, "big") + bytes((0, 6 if frame.haslayer(TCP) else 17))
    )
    value = sum(int.from_bytes(pseudo[i : i + 2], "big") for i in range(0, len(pseudo), 2))
    while value >> 16:
        value = (value & 0xFFFF) + (value >> 16)
    return value.to_bytes(2, "big")
