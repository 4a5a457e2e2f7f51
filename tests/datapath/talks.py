"""What a client and members of a service say to each other, as hosts give it to a datapath."""

from array import array
from dataclasses import dataclass
from typing import Any

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from tests.datapath.stage import VNI, mac
from tests.helpers.frames import pseudo_sum
from vxnet.datapath.base import Member, Service, ServicePort
from vxnet.errors import WireError
from vxnet.switch.maglev import table
from vxnet.wire import virtio, vxlan
from vxnet.wire.addr import format_mac, parse_ip
from vxnet.wire.segment import plan
from vxnet.wire.virtio import Flag, Gso, VnetHeader

__all__ = [
    "FAR",
    "FAR_FRAMES",
    "GUARDED",
    "NEAR_ANSWERS",
    "OPEN",
    "OTHER",
    "PLAIN",
    "QUESTIONS",
    "SERVICES",
    "SETTLING",
    "Given",
    "Octets",
    "service",
    "talk",
]

GUARDED, OTHER, OPEN = 1, 2, 3  # ports; the last may speak as anybody
FAR = 9  # a station the control plane knows of
SERVICES = {4: 100, 6: 101}  # by version, the station that stands for the service
PLAIN = bytes(virtio.HEADER_BYTES)


class Octets(bytes):
    """Bytes that do not fill the screen when a test fails."""

    def __repr__(self) -> str:
        return f"<{len(self)} octets {self[:40].hex()}>"


@dataclass(frozen=True)
class Given:
    """A frame as a host gives it, and how many it stands for."""

    vnet: bytes
    frame: bytes

    @property
    def count(self) -> int:
        if len(self.vnet) < virtio.HEADER_BYTES or not self.vnet[1]:
            return 1
        try:
            return plan(self.frame, virtio.parse(self.vnet)).frames
        except WireError:
            return 1


def talk(version: int, source: int, to: int, layer: TCP | UDP, size: int) -> Given:
    """A packet between stations, or a super-frame where it is too long for one."""
    texts = [f"10.9.0.{n}" if version == 4 else f"fd09::{n:x}" for n in (source, to)]
    network = IP(flags="DF") if version == 4 else IPv6()
    network.src, network.dst = texts
    ends = Ether(src=format_mac(mac(source)), dst=format_mac(mac(to)))
    frame = bytes(ends / network / layer / (bytes(range(250)) * 20)[:size])
    if size <= 1_000:
        return Given(PLAIN, Octets(frame))
    start, at = len(ends / network), 16 if isinstance(layer, TCP) else 6
    frame = frame[: start + at] + pseudo_sum(Ether(frame)) + frame[start + at + 2 :]
    gso = Gso.UDP if isinstance(layer, UDP) else Gso.TCP4 if version == 4 else Gso.TCP6
    header = len(ends / network / layer)
    vnet = VnetHeader(Flag.NEEDS_CHECKSUM, gso, header, 1_000, start, at)
    return Given(virtio.build(vnet), Octets(frame))


def _questions() -> list[Given]:
    """What the first port asks the service."""
    made = []
    for version, address in SERVICES.items():
        for port in (1000, 1001):
            for flags in ("S", "S", "A", "PA", "FA", "R"):
                layer = TCP(sport=port, dport=80, flags=flags, seq=7, ack=9)
                made.append(talk(version, GUARDED, address, layer, 0))
            for size in (1, 1_000, 4_500):
                layer = TCP(sport=port, dport=80, flags="PA", seq=7, ack=9)
                made.append(talk(version, GUARDED, address, layer, size))
            datagram = UDP(sport=port, dport=80)
            made += (talk(version, GUARDED, address, datagram, size) for size in (0, 1_000, 4_500))
        made.append(talk(version, GUARDED, address, TCP(sport=1000, dport=81, flags="S"), 0))
    return made


def _answers(member: int) -> list[Given]:
    """What a member says to the first port, as far as it belongs to a flow of the service."""
    made = []
    for version in SERVICES:
        for port in (1000, 1001):
            for flags in ("SA", "SA", "A", "PA", "FA"):
                layer = TCP(sport=8080, dport=port, flags=flags, seq=7, ack=9)
                made.append(talk(version, member, GUARDED, layer, 10 if flags == "PA" else 0))
            datagram = UDP(sport=8080, dport=port)
            made += (talk(version, member, GUARDED, datagram, size) for size in (0, 1_000))
        layer = TCP(sport=8080, dport=1000, flags="A", seq=7, ack=9)
        made.append(talk(version, member, GUARDED, layer, 4_500))
    return made


def _wrapped(given: list[Given]) -> list[bytes]:
    """The plain ones among them, as another host sends them."""
    return [Octets(vxlan.build(VNI) + one.frame) for one in given if one.vnet == PLAIN]


def _settling() -> list[tuple[Any, ...]]:
    """Steps after which there is a flow of either port, answered by whichever member has it."""
    questions: list[Given] = []
    near: list[Given] = []
    far: list[Given] = []
    for version, address in SERVICES.items():
        for port in (1000, 1001):
            there, back = {"sport": port, "dport": 80}, {"sport": 8080, "dport": port}
            opening = (TCP(flags="S", **there), UDP(**there))
            answer = (TCP(flags="SA", **back), UDP(**back))
            questions += (talk(version, GUARDED, address, layer, 0) for layer in opening)
            near += (talk(version, OTHER, GUARDED, layer, 0) for layer in answer)
            far += (talk(version, FAR, GUARDED, layer, 0) for layer in answer)
    return [
        ("link", GUARDED, questions),
        ("link", OTHER, near),
        ("datagrams", 0, _wrapped(far), 0),
    ]


def service(version: int) -> Service:
    """One of a member here and one on another host."""

    def ip(number: int) -> bytes:
        return parse_ip(f"10.9.0.{number}" if version == 4 else f"fd09::{number:x}")

    number = SERVICES[version]
    members = tuple(Member(mac(one), ip(one)) for one in (OTHER, FAR))
    slots = array("H", table([member.mac for member in members])).tobytes()
    ports = (ServicePort(6, 80, 8080), ServicePort(17, 80, 8080))
    return Service(VNI, mac(number), ip(number), ports, members, slots)


QUESTIONS, NEAR_ANSWERS, FAR_ANSWERS = _questions(), _answers(OTHER), _answers(FAR)
FAR_FRAMES, SETTLING = _wrapped(FAR_ANSWERS), _settling()
