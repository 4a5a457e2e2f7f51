"""Clients outside a network, whose connections some host relays under their own addresses.

The relay's station sends what they say to members here as if it were them. Members answer by their
default gateway, for they know of no relay; so the way back is noted with each packet that came, as
a flow whose service is the member itself, and the answers are given the station's MAC.
"""

from collections.abc import Mapping
from typing import Final

from vxnet.errors import WireError
from vxnet.switch.actions import Drop, DropReason, PortId
from vxnet.switch.flows import Flow, FlowKey, Flows, FlowState
from vxnet.switch.fragments import Fragments
from vxnet.switch.model import SetRelays
from vxnet.switch.places import LocalPort, Station
from vxnet.wire import ip, transport
from vxnet.wire.addr import Mac, Vni
from vxnet.wire.ethernet import Buffer
from vxnet.wire.ip import Packet, Protocol
from vxnet.wire.rewrite import Edit
from vxnet.wire.transport import TcpFlag

__all__ = ["SETTLING_S", "Relayed"]

SETTLING_S: Final = 30.0
"""How long after a start an answer without a way back waits for its client's next packet."""

_NO_PORT: Final = PortId(0)  # relayed clients are behind none of a port's own
_ASTRAY = Drop(DropReason.UNKNOWN_UNICAST)
_PORTED = frozenset({int(Protocol.TCP), int(Protocol.UDP)})


class Relayed:
    """Of one network, on the host that members are on."""

    def __init__(self, vni: Vni, flows: Flows, stations: Mapping[bytes, Station]) -> None:
        self.relays: frozenset[bytes] = frozenset()
        """MACs of the stations that relay."""
        self.watched: frozenset[bytes] = frozenset()
        """MACs of the stations whose packets are to be shown: those, and members here."""
        self.gateway: Mac | None = None
        """Whom answers are sent to, before they are given another MAC."""
        self._ports: frozenset[tuple[bytes, int, int]] = frozenset()
        self._vni = vni
        self._flows = flows
        self._stations = stations
        self._settled_at: float | None = None
        self._is_settled = False

    def configure(self, change: SetRelays) -> None:
        """Have these relays and members."""
        self.relays = frozenset(change.relays)
        self.gateway = change.gateway
        self._ports = frozenset(change.ports)
        self.watched = self.relays | {mac for mac, _, _ in change.ports}

    @property
    def suspects(self) -> frozenset[bytes]:
        """Members whose packets matter even where no flow is known yet: after a start."""
        return frozenset() if self._is_settled else self.watched - self.relays

    def expire(self, now: float) -> None:
        """Time went by."""
        if self._settled_at is None:
            self._settled_at = now + SETTLING_S
        self._is_settled = now >= self._settled_at

    def note(self, source: bytes, frame: Buffer, now: float) -> None:
        """A packet of a client came by the relay with this MAC: its answers go there."""
        try:
            packet = ip.locate(frame)
            if packet is None or packet.protocol not in _PORTED:
                return
            if packet.is_fragment and not Fragments.is_first(frame, packet):
                return
            if packet.end - packet.transport < transport.UDP_BYTES:
                return
            flags = transport.tcp(frame, packet).flags if packet.protocol == Protocol.TCP else 0
        except WireError:
            return  # its receivers discard it
        member, relay = self._stations.get(bytes(frame[:6])), self._stations.get(source)
        if member is None or relay is None or not isinstance(member.place, LocalPort):
            return  # the member's own host notes it
        client, address = ip.addresses(frame, packet)
        if client in relay.ips:
            return  # the relay speaks for itself, and is answered like anybody
        ports = transport.UDP_PORTS.unpack_from(frame, packet.transport)
        key = FlowKey(self._vni, packet.protocol, client, ports[0], address, ports[1])
        flow = self._flows.there(key, now)
        is_new = flags & (TcpFlag.SYN | TcpFlag.ACK) == TcpFlag.SYN
        if flow is not None and (is_new or flow.back.destination_mac != source):
            self._flows.catch_up((flow,))
        if flow is not None and not self._holds(flow, source, is_new=is_new):
            self._flows.remove(flow)
            flow = None
        if flow is None:
            there = Edit(member.mac, Mac(source), client, address, ports[0], ports[1])
            back = Edit(Mac(source), member.mac, address, client, ports[1], ports[0])
            back_key = FlowKey(self._vni, packet.protocol, address, ports[1], client, ports[0])
            flow = Flow(key, back_key, member.mac, _NO_PORT, there, back)
            self._flows.add(flow, now)
        elif flow.back.destination_mac != source:
            return  # another relay's connection, of the same ports, goes on
        self._flows.touch(flow, now, flags, is_answer=False)

    def _holds(self, flow: Flow, source: bytes, *, is_new: bool) -> bool:
        """Whether a flow that is known is the one a relay's packet belongs to, or keeps it out."""
        if flow.back.destination_mac == source:
            return not (is_new and flow.state >= FlowState.CLOSING)
        return flow.state is FlowState.SETTLED and flow.back.destination_mac in self._stations

    def astray(self, source: bytes, frame: Buffer, packet: Packet, now: float) -> Drop | None:
        """What becomes of a member's packet that has no way back.

        After a start nothing is known of the connections there are. A router would take such an
        answer for its own affair, and have the client reset the connection; so it is lost, and sent
        again when the client has said something.
        """
        if self._settled_at is None:
            self._settled_at = now + SETTLING_S
        if (
            now >= self._settled_at
            or packet.protocol != Protocol.TCP
            or bytes(frame[:6]) != self.gateway
        ):
            return None
        segment = transport.tcp(frame, packet)
        if segment.flags & TcpFlag.SYN or not segment.flags & TcpFlag.ACK:
            return None
        if (source, packet.protocol, segment.source_port) not in self._ports:
            return None
        return _ASTRAY
