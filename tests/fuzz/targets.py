"""Every function that reads octets from the network, by name: add yours to `TARGETS`.

A target takes any octets. It may raise WireError, which is the right answer to nonsense; anything
else it raises is a bug. What it returns is not looked at, so a target that wants more than "does
not fall over" asserts it itself.
"""

from collections.abc import Callable

from vxnet.wire import arp, ethernet, flow, ip, nd, transport, virtio, vxlan
from vxnet.wire.checksum import checksum, total
from vxnet.wire.ip import Protocol

__all__ = ["TARGETS"]


def _nd(data: bytes) -> None:
    frame = bytearray(data)
    packet = ip.locate(frame)
    if packet is None:
        return
    size = packet.end - packet.transport
    if packet.version == 6 and packet.protocol == Protocol.ICMPV6 and size >= 4:
        # No fuzzer guesses a checksum: put the right one in, so that it gets behind that.
        frame[packet.transport + 2 : packet.transport + 4] = bytes(2)
        pseudo = ip.pseudo_header(*ip.addresses(frame, packet), packet.protocol, size)
        right = checksum(frame[packet.transport : packet.end], total(pseudo))
        frame[packet.transport + 2 : packet.transport + 4] = right.to_bytes(2, "big")
    nd.parse(frame, packet)


def _ip(data: bytes) -> None:
    packet = ip.locate(data)
    if packet is not None:
        assert packet.network < packet.transport <= packet.end <= len(data)
        source, destination = ip.addresses(data, packet)
        assert len(source) == len(destination) == (4 if packet.version == 4 else 16)


def _transport(data: bytes) -> None:
    packet = ip.locate(data)
    if packet is None or packet.is_fragment:
        return
    if packet.protocol == Protocol.TCP:
        assert packet.transport + transport.tcp(data, packet).header_bytes <= packet.end
    elif packet.protocol == Protocol.UDP:
        assert packet.transport + transport.udp(data, packet).length <= packet.end


def _flow(data: bytes) -> None:
    assert 0 <= flow.flow_hash(data) < 2**32


TARGETS: dict[str, Callable[[bytes], object]] = {
    "arp": arp.parse,
    "ethernet": ethernet.payload,
    "flow": _flow,
    "ip": _ip,
    "nd": _nd,
    "transport": _transport,
    "virtio": virtio.parse,
    "vxlan": vxlan.parse,
}
