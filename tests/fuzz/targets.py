"""Every function that reads octets from the network, by name: add yours to `TARGETS`.

A target takes any octets. It may raise WireError, which is the right answer to nonsense; anything
else it raises is a bug. What it returns is not looked at, so a target that wants more than "does
not fall over" asserts it itself.
"""

from collections.abc import Callable
from random import Random

import numpy as np

from tests.fuzz import gossip
from tests.names.site import Site, row
from vxnet.cnm import catalogue, claims, services
from vxnet.control import paths
from vxnet.names import query
from vxnet.names.cache import AnswerCache
from vxnet.names.pending import Pending
from vxnet.names.responder import Answered
from vxnet.names.rows import read_row
from vxnet.switch.actions import Action, Deliver, Drop, Flood, PortId
from vxnet.switch.forward import Switch
from vxnet.switch.model import Peer, Port, Segment, SetPeers
from vxnet.wire import (
    arp,
    coalesce,
    ecn,
    ethernet,
    flow,
    ip,
    membership,
    mss,
    nd,
    probe,
    segment,
    too_big,
    transport,
    virtio,
    vxlan,
)
from vxnet.wire.addr import Vni, Vtep, parse_ip, parse_mac
from vxnet.wire.checksum import checksum, total
from vxnet.wire.ip import Protocol

__all__ = ["TARGETS"]


def _nd(data: bytes) -> None:
    frame = bytearray(data)
    packet = ip.locate(frame)
    if packet is not None:
        _complete_icmpv6(frame, packet)
        nd.parse(frame, packet)


def _ip(data: bytes) -> None:
    packet = ip.locate(data)
    if packet is not None:
        assert packet.network < packet.transport <= packet.end <= len(data)
        source, destination = ip.addresses(data, packet)
        assert len(source) == len(destination) == (4 if packet.version == 4 else 16)


def _membership(data: bytes) -> None:
    frame = bytearray(data)
    packet = ip.locate(frame)
    if packet is None:
        return
    if packet.protocol == Protocol.IGMP:
        _complete(frame, packet, start=0)
    elif packet.version == 6:
        frame[packet.network + 7] = 1
    _complete_icmpv6(frame, packet)
    membership.parse(frame, packet)


def _complete_icmpv6(frame: bytearray, packet: ip.Packet) -> None:
    if packet.version == 6 and packet.protocol == Protocol.ICMPV6:
        size = packet.end - packet.transport
        pseudo = ip.pseudo_header(*ip.addresses(frame, packet), packet.protocol, size)
        _complete(frame, packet, start=total(pseudo))


def _complete(frame: bytearray, packet: ip.Packet, start: int) -> None:
    """Put the right checksum in: no fuzzer guesses one, and it is to get behind that."""
    if packet.end - packet.transport >= 4:
        field = slice(packet.transport + 2, packet.transport + 4)
        frame[field] = bytes(2)
        frame[field] = checksum(frame[packet.transport : packet.end], start).to_bytes(2, "big")


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


def _switch(data: bytes) -> None:
    """The first octet says where the frame comes from, the rest is the frame."""
    vni, port, other = Vni(7), PortId(1), PortId(2)
    mac, peer = parse_mac("02:00:00:00:00:01"), Vtep(parse_ip("192.0.2.2"), vxlan.PORT)
    switch = Switch()
    switch.set_segment(Segment(vni, mtu=1450, vlan_transparent=bool(data[:1] > b"\x7f")))
    switch.add_port(Port(port, vni, mac, (parse_ip("10.0.0.1"), parse_ip("fd00::1"))))
    switch.add_port(Port(other, vni))
    switch.program([SetPeers(vni, (Peer(peer, learning=True),))])
    source, frame = data[:1], memoryview(data)[1:]
    if source and source[0] & 1:
        action = switch.from_underlay(vni, peer.ip, frame, 0.0)
        assert isinstance(action, Deliver | Flood | Drop)
        assert not (isinstance(action, Flood) and action.vteps)
    else:
        sender = other if source and source[0] & 2 else port
        action = switch.from_link(sender, frame, 0.0)
        assert isinstance(action, Action)
        assert not (isinstance(action, Flood) and sender in action.ports)
        assert action != Deliver(sender)


def _segment(data: bytes) -> None:
    """A super-frame as a host may hand it over: its `virtio_net_hdr`, then the frame."""
    vnet, frame = virtio.parse(data), memoryview(data)[virtio.HEADER_BYTES :]
    planned = segment.plan(frame, vnet)
    done = segment.cut(frame, planned, vxlan.build(Vni(7)), np.empty(262_144, np.uint8))
    assert done.frames == planned.frames > 0
    assert (done.frames - 1) * done.stride < done.size <= done.frames * done.stride


def _coalesce(data: bytes) -> None:
    """The first octet says how wide a burst's datagrams are, the rest is the burst."""
    width = 22 + data[0] if data else 22
    count = -(-max(len(data) - 1, 1) // width)
    last = max(len(data) - 1, 1) - (count - 1) * width
    rows = np.frombuffer(bytearray(data[1:].ljust(count * width)), np.uint8).reshape(count, width)
    found = coalesce.runs(rows, last, vxlan.HEADER_BYTES, udp=True)
    assert sum(run.frames for run in found) == count
    for run in found:
        assert (run.frames > 1) == (run.shape is not None)
        if run.frames > 1:
            room = np.empty(131_072, np.uint8)
            used = coalesce.join(rows, last, vxlan.HEADER_BYTES, run, room)
            vnet = virtio.parse(room[: virtio.HEADER_BYTES].tobytes())
            segment.plan(room[virtio.HEADER_BYTES : used].tobytes(), vnet)


def _ecn(data: bytes) -> None:
    """The first octet is the outer class, the rest is the frame."""
    frame = bytearray(data[1:])
    assert 0 <= ecn.outer_tos(frame) <= 255
    ecn.decapsulate(frame, data[0] if data else 0)
    assert len(frame) == max(len(data) - 1, 0)


def _mss(data: bytes) -> None:
    """The first octet is a hundredth of the MTU, the rest is the frame."""
    frame, mtu = bytearray(data[1:]), 100 * (data[0] if data else 0)
    is_glimpsed = mss.may_be_syn(frame)
    mss.clamp(frame, mtu, 65_536, is_open=False)
    assert frame == data[1:] or is_glimpsed or ip.locate(frame).transport > 54  # type: ignore[union-attr]
    assert len(frame) == max(len(data) - 1, 0)


def _too_big(data: bytes) -> None:
    advice = too_big.answer(data, 1450)
    if advice is not None:
        assert advice[:12] == data[6:12] + data[:6]
        packet = ip.locate(advice)
        assert packet is not None
        assert packet.end == len(advice)


def _dns(data: bytes) -> None:
    """A packet of DNS as a client may send it, to a host that knows a name or two."""
    site = Site()
    site.hear(1, row("web", "10.9.0.10", aliases=("www",)))
    outcome = site.outcome(data)
    if isinstance(outcome, Answered):
        assert outcome.packet[:2] == data[:2]
        assert outcome.packet[2] & 0x80
        assert len(outcome.packet) <= 1_232


def _dns_answer(data: bytes) -> None:
    """A packet of DNS as an upstream resolver, or whoever forges one, may send it."""
    pending = Pending(Random(1))
    question = bytes.fromhex("0000010000010000000000000377656200000100 01")
    waiting = pending.ask(question, query.parse(question), 0.0, lambda _: None)
    assert waiting is not None
    whole = waiting.id.to_bytes(2) + data
    assert pending.hear(whole) is waiting
    cache = AnswerCache()
    cache.put(question[2:], whole, 0.0)
    kept = cache.get(question[2:], 1.0)
    assert kept is None or len(kept) == len(whole)


def _claim(data: bytes) -> None:
    network, about = claims.network_of_key(data[:33])
    claims.read_row(data[:33], data[33:])
    assert len(network) == 32
    assert about


TARGETS: dict[str, Callable[[bytes], object]] = {
    "arp": arp.parse,
    "catalogue-row": catalogue.read,
    "claim-row": _claim,
    "coalesce": _coalesce,
    "dns": _dns,
    "dns-answer": _dns_answer,
    "dns-row": read_row,
    "ecn": _ecn,
    "ethernet": ethernet.payload,
    "flow": _flow,
    "gossip-datagram": gossip.datagram,
    "gossip-packet": gossip.packet,
    "gossip-records": gossip.records,
    "gossip-row": gossip.row,
    "ip": _ip,
    "membership": _membership,
    "mss": _mss,
    "nd": _nd,
    "path-probe": paths.parse,
    "probe-frame": probe.decode_frame,
    "probe-letter": probe.decode,
    "segment": _segment,
    "service-row": services.read_service,
    "switch": _switch,
    "too_big": _too_big,
    "transport": _transport,
    "virtio": virtio.parse,
    "vxlan": vxlan.parse,
}
