"""One host with two networks of equal MACs, and short words for what tests say to its switch."""

from functools import cache

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from vxnet.switch.actions import Action, Flood, PortId, SwitchEvent
from vxnet.switch.forward import Switch
from vxnet.switch.limits import Limits
from vxnet.switch.model import Change, FdbRow, Peer, Port, Segment, SetEntry, SetPeers
from vxnet.wire.addr import Ip, Mac, Vni, Vtep, parse_ip

__all__ = [
    "BLUE",
    "FOREIGN",
    "GROUP",
    "P1",
    "P2",
    "P3",
    "PEER",
    "RED",
    "STRANGER",
    "A",
    "B",
    "C",
    "D",
    "Site",
    "frame",
    "ip",
    "mac",
    "tagged",
]

BLUE, RED = Vni(7), Vni(8)
P1, P2, P3 = PortId(1), PortId(2), PortId(3)
GROUP = Mac(b"\x01\0\x5e\x01\x02\x03")


def mac(number: int) -> Mac:
    """A station's MAC."""
    return Mac(b"\x02\0" + number.to_bytes(4, "big"))


def ip(text: str) -> Ip:
    """An address."""
    return parse_ip(text)


A, B, C, D = mac(0xA), mac(0xB), mac(0xC), mac(0xD)
PEER = Vtep(ip("192.0.2.2"), 4789)  # another host with vxnet
FOREIGN = Vtep(ip("192.0.2.3"), 4789)  # something else that speaks VXLAN: learned from
STRANGER = ip("192.0.2.99")


@cache
def frame(source: Mac, destination: Mac) -> bytes:
    """A frame with a datagram in it."""
    layer = Ether(src=source.hex(":"), dst=destination.hex(":"))
    return bytes(layer / IP(src="10.9.0.1", dst="10.9.0.2") / UDP() / b"hello")


def tagged(octets: bytes, vlan: int) -> bytes:
    """The frame with an 802.1Q tag put in."""
    return octets[:12] + b"\x81\0" + vlan.to_bytes(2, "big") + octets[12:]


class Site:
    """A switch with ports 1 and 2 in BLUE that anybody may use, one peer and one foreign VTEP."""

    def __init__(
        self, limits: Limits | None = None, *, ports: tuple[Port, ...] | None = None, **blue: bool
    ) -> None:
        self.switch = Switch(limits)
        self.now = 1_000.0
        self.switch.set_segment(Segment(BLUE, 1450, **blue))
        for port in ports if ports is not None else (Port(P1, BLUE), Port(P2, BLUE)):
            self.switch.add_port(port)
        self.program(SetPeers(BLUE, (Peer(PEER), Peer(FOREIGN, learning=True))))

    def program(self, *changes: Change) -> None:
        """What the control plane says."""
        self.switch.program(changes)

    def hold(self, station: Mac, vtep: Vtep = PEER, *ips: str, router: bool = False) -> None:
        """The control plane says where a station is."""
        self.program(SetEntry(BLUE, station, vtep, tuple(ip(text) for text in ips), router))

    def link(self, port: PortId, octets: bytes) -> Action:
        """A local port sends."""
        return self.switch.from_link(port, memoryview(octets), self.now)

    def underlay(self, source: Vtep, octets: bytes, vni: Vni = BLUE) -> Action:
        """A tunnel brings."""
        return self.switch.from_underlay(vni, source.ip, memoryview(octets), self.now)

    def wait(self, seconds: float) -> None:
        """Time passes, and stale entries go."""
        self.now += seconds
        self.switch.expire(self.now)

    def events(self) -> list[SwitchEvent]:
        """What the switch has to tell."""
        return self.switch.events()

    def row(self, station: Mac, vni: Vni = BLUE) -> FdbRow | None:
        """What the table says of a station."""
        rows = [row for row in self.switch.rows(self.now) if (row.vni, row.mac) == (vni, station)]
        assert len(rows) <= 1
        return rows[0] if rows else None

    def everybody_but(self, *ports: PortId) -> Flood:
        """Where a flooded frame from a local port goes."""
        others = tuple(port for port in (P1, P2) if port not in ports)
        return Flood(others, (PEER, FOREIGN))
