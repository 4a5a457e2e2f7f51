"""The services of one network: a client's packets to an address of many become one member's.

All of it happens on the client's host. What the client sends to the service's MAC goes to the
member that the flow has, under the member's address; what comes back from a member under a flow's
name is the service's again. Members see the client's own address, and need to know nothing of it.
"""

from array import array
from collections.abc import Mapping
from typing import Final
from zlib import crc32

from vxnet.errors import WireError
from vxnet.switch.actions import (
    Drop,
    DropReason,
    PortId,
    Reply,
    Rewrite,
)
from vxnet.switch.flows import Flow, FlowKey, Flows, FlowState
from vxnet.switch.fragments import Fragments
from vxnet.switch.model import Member, Service, SetRelays
from vxnet.switch.places import LocalPort, Station
from vxnet.switch.relayed import Relayed
from vxnet.wire import answers, ip, quoted, transport
from vxnet.wire.addr import Ip, Mac, Vni
from vxnet.wire.ethernet import Buffer
from vxnet.wire.ip import Packet, Protocol
from vxnet.wire.rewrite import Edit
from vxnet.wire.transport import TcpFlag

__all__ = ["PASSED_OVER_MAX", "REFUSAL_S", "Balancer"]

REFUSAL_S: Final = 10.0
"""How long a member that refused a connection is passed over where others take them."""
PASSED_OVER_MAX: Final = 2
"""So often one connection is tried elsewhere; then its client is told."""
TRIALS_MAX: Final = 4_096

_CLOSED = Drop(DropReason.SERVICE_CLOSED)
_EMPTY = Drop(DropReason.SERVICE_EMPTY)
_REFUSED = Drop(DropReason.SERVICE_REFUSED)
_FRAGMENT = Drop(DropReason.SERVICE_FRAGMENT)
_MALFORMED = Drop(DropReason.FRAME_MALFORMED)
_NOWHERE = Drop(DropReason.UNKNOWN_UNICAST)
_PORTED = frozenset({int(Protocol.TCP), int(Protocol.UDP)})
_ICMP = frozenset({int(Protocol.ICMP), int(Protocol.ICMPV6)})
_TCP = int(Protocol.TCP)
# Arithmetic on members of an enumeration takes a microsecond each time.
_SYN, _RST, _ACK = int(TcpFlag.SYN), int(TcpFlag.RST), int(TcpFlag.ACK)


class _Service:
    """A service as it is looked up."""

    __slots__ = ("members", "service", "slots", "targets")

    def __init__(self, service: Service) -> None:
        self.service = service
        self.targets = {(p.protocol, p.port): p.target for p in service.ports}
        self.members = service.members
        self.slots = array("H", service.slots)


class Balancer:
    """Chooses members, and keeps to them while they live."""

    def __init__(self, vni: Vni, flows: Flows, stations: Mapping[bytes, Station]) -> None:
        """`stations` is the network's own table, `flows` the host's."""
        self.by_mac: dict[bytes, _Service] = {}
        self.members: frozenset[bytes] = frozenset()
        """MACs of stations whose packets may be a service's."""
        self.relayed = Relayed(vni, flows, stations)
        self._serving: frozenset[bytes] = frozenset()
        self._vni = vni
        self._flows = flows
        self._stations = stations
        self._fragments = Fragments()
        self._refusing: dict[tuple[Ip, Mac], float] = {}  # until when, by service and member
        self._trials: dict[FlowKey, int] = {}  # how often a connection was refused

    def configure(self, services: tuple[Service, ...]) -> list[tuple[PortId, bytes]]:
        """Have these services; returns resets for the clients of members that are gone."""
        self.by_mac = {service.mac: _Service(service) for service in services}
        alive = {(s.ip, member.mac) for s in services for member in s.members}
        self._serving = frozenset(mac for _, mac in alive)
        self.members = self._serving | self.relayed.watched
        self._refusing = {key: until for key, until in self._refusing.items() if key in alive}
        orphans = [
            flow
            for flow in self._flows
            if flow.key.vni == self._vni
            and not flow.is_relayed
            and (flow.key.destination, flow.member) not in alive
            and flow.state is not FlowState.DEAD
        ]
        self._flows.catch_up(orphans)
        resets = [
            (flow.port, _reset(flow))
            for flow in orphans
            if flow.key.protocol == _TCP and flow.is_settled
        ]
        for flow in orphans:
            self._flows.kill(flow)
        return resets

    def relay(self, change: SetRelays) -> None:
        """Have these relays, and these members that they reach."""
        self.relayed.configure(change)
        self.members = self._serving | self.relayed.watched

    def outward(
        self, local: LocalPort, destination: bytes, frame: Buffer, now: float
    ) -> Rewrite | Reply | Drop | None:
        """What becomes of a port's frame to a service's MAC; None where that is no service's."""
        found = self.by_mac.get(destination)
        if found is None:
            return _NOWHERE if destination == self.relayed.gateway else None
        try:
            packet = ip.locate(frame)
            if packet is None:
                return _CLOSED
            source, asked = ip.addresses(frame, packet)
            if asked != found.service.ip:
                return _CLOSED
            if packet.protocol in _ICMP and not packet.is_fragment:
                return self._icmp(frame, packet, asked, now)
            if packet.protocol not in _PORTED:
                return _CLOSED
            if packet.is_fragment:
                return self._fragment(local, found, frame, packet, now)
            return self._packet(local, found, frame, packet, source, now)
        except WireError:
            return _MALFORMED

    def homeward(
        self, source: bytes, frame: Buffer, now: float
    ) -> tuple[Edit | bytes, bytes, bool] | Drop | None:
        """What a member's frame is to a client of this host, whose MAC is the second value.

        The third says whether the packet has ports. None where it belongs to no flow. Where a
        member refuses a connection and others are there, its client does not hear of it: its next
        SYN goes to one of those.
        """
        if source in self.relayed.relays:
            self.relayed.note(source, frame, now)
            return None
        try:
            packet = ip.locate(frame)
            if packet is None:
                return None
            if packet.protocol in _ICMP and not packet.is_fragment:
                return self._icmp_back(frame, packet, now)
            if packet.protocol not in _PORTED:
                return None
            flow, has_ports = self._flow_back(frame, packet, now)
            if flow is None:
                return self.relayed.astray(source, frame, packet, now) if has_ports else None
        except WireError:
            return None  # its receivers discard it
        if flow.member != source:
            return None
        if has_ports:
            flags = frame[packet.transport + 13] if packet.protocol == _TCP else 0
            if flags & _RST and not flow.is_relayed and self._flows.is_young(flow):
                if self._pass_over(flow, now):
                    return _REFUSED
            elif flow.key in self._trials:
                del self._trials[flow.key]
            self._flows.touch(flow, now, flags, is_answer=True)
        return flow.back, flow.back.destination_mac, has_ports

    def make_way(self, frame: Buffer, now: float) -> None:
        """Forget a flow that is over, if a frame to a member begins a connection beside it.

        Seen from the member both are one client at one port, and what it answers would be the
        service's.
        """
        try:
            packet = ip.locate(frame)
            if packet is None or packet.protocol != _TCP or packet.is_fragment:
                return
            segment = transport.tcp(frame, packet)
        except WireError:
            return  # its receivers discard it
        if segment.flags & (_SYN | _ACK) != _SYN:
            return
        client, member = ip.addresses(frame, packet)
        ports = segment.destination_port, segment.source_port
        flow = self._flows.back(FlowKey(self._vni, _TCP, member, ports[0], client, ports[1]), now)
        if flow is not None:
            self._flows.catch_up((flow,))
            if flow.state >= FlowState.CLOSING:
                self._flows.remove(flow)

    # A client's packets

    def _packet(
        self,
        local: LocalPort,
        found: _Service,
        frame: Buffer,
        packet: Packet,
        source: Ip,
        now: float,
        *,
        is_fragment: bool = False,
    ) -> Rewrite | Reply | Drop:
        flags = 0
        segment = None
        if packet.end - packet.transport < transport.UDP_BYTES:
            return _MALFORMED
        if packet.protocol == _TCP:
            segment = transport.tcp(frame, packet)
            ports = (segment.source_port, segment.destination_port)
            flags = segment.flags
        else:
            datagram = transport.UDP_PORTS.unpack_from(frame, packet.transport)
            ports = (datagram[0], datagram[1])
        key = FlowKey(self._vni, packet.protocol, source, ports[0], found.service.ip, ports[1])
        flow = self._flows.there(key, now)
        if flow is not None and flags & (_SYN | _ACK) == _SYN:
            self._flows.catch_up((flow,))
            if flow.state >= FlowState.CLOSING:
                self._flows.remove(flow)  # the client takes the port for another connection
                flow = None
        if flow is not None and flow.state is FlowState.DEAD:
            if segment is None:
                self._flows.remove(flow)
                flow = None
            elif flags & _RST:
                return _EMPTY
            else:
                return Reply(answers.refuse(frame, packet, segment))
        if flow is None:
            target = found.targets.get((packet.protocol, ports[1]))
            if target is None:
                if segment is None or flags & _RST:
                    return _CLOSED
                return Reply(answers.refuse(frame, packet, segment))
            flow = self._begin(local, found, key, target, Mac(bytes(frame[6:12])), now)
            if flow is None:
                if segment is None or flags & _RST:
                    return _EMPTY
                return Reply(answers.refuse(frame, packet, segment))
            flow.is_tried = key in self._trials
            self._flows.add(flow, now)
        if segment is not None and flags & _ACK:
            flow.acked = segment.acknowledgement
        self._flows.touch(flow, now, flags, is_answer=False)
        return self._send(flow, has_ports=True)

    def _begin(
        self,
        local: LocalPort,
        found: _Service,
        key: FlowKey,
        target: int,
        client: Mac,
        now: float,
    ) -> Flow | None:
        """A flow of a member that takes new ones, chosen by the flow; None where there is none."""
        members = self._candidates(found, now)
        if not members:
            return None
        slots = found.slots
        at = crc32(key.source + key.source_port.to_bytes(2) + key.destination_port.to_bytes(2))
        chosen: Flow | None = None
        for step in range(len(slots)):
            member = members.get(slots[(at + step) % len(slots)])
            if member is None:
                continue
            flow = self._flow(local, found.service, key, target, client, member)
            if chosen is None:
                chosen = flow
            # Another flow may have the same answers; and to oneself only where nobody else is.
            if not self._flows.has_back(flow.back_key) and member.mac != client:
                return flow
            if step > 8 * len(members):
                break
        return chosen

    def _pass_over(self, flow: Flow, now: float) -> bool:
        """A member refuses: whether another is to be tried, when the client asks again."""
        key, vip = flow.key, flow.key.destination
        self._refusing[vip, flow.member] = now + REFUSAL_S
        trials = self._trials.pop(key, 0) + 1
        found = next((one for one in self.by_mac.values() if one.service.ip == vip), None)
        if found is None or trials > PASSED_OVER_MAX:
            return False
        others = self._candidates(found, now).values()
        if all(self._refuses(vip, member.mac, now) for member in others):
            return False
        while len(self._trials) >= TRIALS_MAX:
            del self._trials[next(iter(self._trials))]
        self._trials[key] = trials
        self._flows.remove(flow)
        return True

    def _refuses(self, vip: Ip, member: Mac, now: float) -> bool:
        return now < self._refusing.get((vip, member), now)

    def _candidates(self, found: _Service, now: float) -> dict[int, Member]:
        taking = {
            index: member
            for index, member in enumerate(found.members)
            if member.takes_new and member.mac in self._stations
        }
        if self._refusing:
            vip = found.service.ip
            willing = {
                index: member
                for index, member in taking.items()
                if not self._refuses(vip, member.mac, now)
            }
            taking = willing or taking
        if found.service.prefer_local:
            here = {
                index: member
                for index, member in taking.items()
                if isinstance(self._stations[member.mac].place, LocalPort)
            }
            return here or taking
        return taking

    def _flow(
        self,
        local: LocalPort,
        service: Service,
        key: FlowKey,
        target: int,
        client: Mac,
        member: Member,
    ) -> Flow:
        # A member that is its own client would not take packets from its own address.
        to_itself = member.mac == client
        seen_as = (service.ip, service.mac) if to_itself else (key.source, client)
        there = Edit(member.mac, seen_as[1], seen_as[0], member.ip, key.source_port, target)
        back = Edit(
            client, service.mac, service.ip, key.source, key.destination_port, key.source_port
        )
        back_key = FlowKey(key.vni, key.protocol, member.ip, target, seen_as[0], key.source_port)
        return Flow(key, back_key, member.mac, local.port.id, there, back)

    def _send(self, flow: Flow, *, has_ports: bool) -> Rewrite | Drop:
        station = self._stations.get(flow.member)
        if station is None:
            return _EMPTY
        return Rewrite(flow.there, station.action, has_ports)

    def _fragment(
        self, local: LocalPort, found: _Service, frame: Buffer, packet: Packet, now: float
    ) -> Rewrite | Reply | Drop:
        """The first of a packet's fragments has the ports; the others are of the same flow."""
        name = self._fragments.name(frame, packet)
        if not self._fragments.is_first(frame, packet):
            flow = self._fragments.find(name, now)
            return _FRAGMENT if flow is None else self._send(flow, has_ports=False)
        if packet.end - packet.transport < transport.UDP_BYTES:
            return _MALFORMED
        source, _ = ip.addresses(frame, packet)
        action = self._packet(local, found, frame, packet, source, now)
        ports = transport.UDP_PORTS.unpack_from(frame, packet.transport)
        key = FlowKey(self._vni, packet.protocol, source, ports[0], found.service.ip, ports[1])
        flow = self._flows.there(key, now)
        if flow is not None:
            self._fragments.note(name, flow, now)
        return action

    # A member's

    def _flow_back(self, frame: Buffer, packet: Packet, now: float) -> tuple[Flow | None, bool]:
        if packet.is_fragment and not self._fragments.is_first(frame, packet):
            return self._fragments.find(self._fragments.name(frame, packet), now), False
        if packet.end - packet.transport < transport.UDP_BYTES:
            return None, False
        source, destination = ip.addresses(frame, packet)
        ports = transport.UDP_PORTS.unpack_from(frame, packet.transport)
        key = FlowKey(self._vni, packet.protocol, source, ports[0], destination, ports[1])
        flow = self._flows.back(key, now)
        if flow is not None and packet.protocol == _TCP:
            transport.tcp(frame, packet)  # its flags are looked at
        if flow is not None and packet.is_fragment:
            self._fragments.note(self._fragments.name(frame, packet), flow, now)
        return flow, True

    # ICMP

    def _icmp(self, frame: Buffer, packet: Packet, vip: Ip, now: float) -> Rewrite | Reply | Drop:
        """Pings are answered for the service; errors go to the member they are about."""
        answer = answers.echo(frame, packet)
        if answer is not None:
            return Reply(answer)
        about = quoted.read(frame, packet)
        if about is None or about.source != vip:
            return _CLOSED
        key = FlowKey(
            self._vni,
            about.protocol,
            about.destination,
            about.destination_port,
            about.source,
            about.source_port,
        )
        flow = self._flows.there(key, now)
        station = None if flow is None else self._stations.get(flow.member)
        if flow is None or station is None:
            return _CLOSED
        there = flow.there
        changed = quoted.rewrite(
            frame,
            packet,
            there._replace(source=ip.addresses(frame, packet)[0]),
            inner_source=(there.destination, there.destination_port),
        )
        return Rewrite(changed, station.action, has_ports=False)

    def _icmp_back(
        self, frame: Buffer, packet: Packet, now: float
    ) -> tuple[Edit | bytes, bytes, bool] | None:
        about = quoted.read(frame, packet)
        if about is None:
            return None
        key = FlowKey(
            self._vni,
            about.protocol,
            about.destination,
            about.destination_port,
            about.source,
            about.source_port,
        )
        flow = self._flows.back(key, now)
        if flow is None:
            return None
        back, source = flow.back, ip.addresses(frame, packet)[0]
        if source != flow.there.destination:
            back = back._replace(source=source)  # a router's on the way, not the member's
        changed = quoted.rewrite(
            frame, packet, back, inner_destination=(flow.key.destination, flow.key.destination_port)
        )
        return changed, back.destination_mac, False


def _reset(flow: Flow) -> bytes:
    back = flow.back
    ports = (back.source_port, back.destination_port)
    return answers.reset(
        back.destination_mac, back.source_mac, back.source, back.destination, ports, flow.acked or 0
    )
