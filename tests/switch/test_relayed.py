"""Clients outside a network: what members answer finds the host that relays them."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, UDPerror, fragment
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from tests.switch.site import BLUE, FOREIGN, P1, P2, P3, PEER, A, B, Site, ip, mac
from vxnet.switch.actions import Action, Deliver, Drop, DropReason, PortId, Reply, Rewrite, Send
from vxnet.switch.flows import IDLE_S, FlowState
from vxnet.switch.model import Peer, Port, SetEntry, SetPeers, SetRelays
from vxnet.switch.relayed import SETTLING_S
from vxnet.wire import ip as wire_ip
from vxnet.wire.addr import Mac, format_mac
from vxnet.wire.ip import Protocol
from vxnet.wire.rewrite import apply

RELAY, OTHER_RELAY, HERE = mac(0x301), mac(0x302), mac(0x303)
GATEWAY = mac(0x400)
MEMBER, CLIENT = "10.9.0.1", "198.51.100.9"
MEMBER6, CLIENT6 = "fd09::1", "2001:db8::9"
PORTS = (
    Port(P1, BLUE, A, (ip(MEMBER), ip(MEMBER6))),
    Port(P2, BLUE, B, (ip("10.9.0.2"),)),
    Port(P3, BLUE, HERE, (ip("10.9.0.73"),)),
)
ROUTER = PortId(9)
RELAYS = SetRelays(
    BLUE,
    frozenset({RELAY, OTHER_RELAY, HERE}),
    frozenset({(A, 6, 8080), (A, 17, 5353)}),
    GATEWAY,
    (ip("10.9.0.254"), ip("fd09::fe")),
)
ASTRAY = Drop(DropReason.UNKNOWN_UNICAST)


class Host(Site):
    """A member here, relays on another host and on this one."""

    def __init__(self) -> None:
        super().__init__(ports=PORTS)
        self.program(
            SetPeers(BLUE, (Peer(PEER),)),
            SetEntry(BLUE, RELAY, PEER, (ip("10.9.0.71"),)),
            SetEntry(BLUE, OTHER_RELAY, PEER, (ip("10.9.0.72"),)),
            RELAYS,
        )
        self.switch.expire(self.now)

    def asks(self, packet: Packet, relay: Mac = RELAY) -> Action:
        """A client's packet comes by a relay."""
        frame = bytearray(bytes(ether(relay, A) / packet))
        if relay == HERE:
            return self.switch.from_link(P3, frame, self.now)
        return self.switch.from_underlay(BLUE, PEER.ip, frame, self.now)

    def answers(self, packet: Packet) -> Action:
        """The member sends a packet to its gateway."""
        frame = bytearray(bytes(ether(A, GATEWAY) / packet))
        return self.switch.from_link(P1, frame, self.now)

    def arp(self, wanted: str) -> Action:
        question = ARP(hwsrc=format_mac(A), psrc=MEMBER, pdst=wanted)
        frame = bytearray(bytes(Ether(src=format_mac(A), dst="ff:ff:ff:ff:ff:ff") / question))
        return self.switch.from_link(P1, frame, self.now)

    def nd(self, wanted: str) -> Action:
        question = ICMPv6ND_NS(tgt=wanted) / ICMPv6NDOptSrcLLAddr(lladdr=format_mac(A))
        packet = IPv6(src=MEMBER6, dst="ff02::1:ff00:fe") / question
        frame = bytearray(bytes(Ether(src=format_mac(A), dst="33:33:ff:00:00:fe") / packet))
        return self.switch.from_link(P1, frame, self.now)

    def settle(self) -> None:
        """Be up for a while."""
        self.now += SETTLING_S
        self.switch.expire(self.now)


def ether(source: Mac, destination: Mac) -> Packet:
    return Ether(src=format_mac(source), dst=format_mac(destination))


def there(flags: str = "S", port: int = 1000) -> Packet:
    return IP(src=CLIENT, dst=MEMBER) / TCP(sport=port, dport=8080, flags=flags)


def back(flags: str = "SA", port: int = 1000) -> Packet:
    return IP(src=MEMBER, dst=CLIENT) / TCP(sport=8080, dport=port, flags=flags)


def goes_to(action: Action, packet: Packet) -> Mac:
    """To whom an answer goes, that is changed in nothing else."""
    assert isinstance(action, Rewrite), action
    octets = action.change
    if not isinstance(octets, bytes):
        room = bytearray(bytes(ether(A, GATEWAY) / packet))
        found = wire_ip.locate(room)
        assert found is not None
        apply(octets, room, found, is_partial=False, has_ports=action.has_ports)
        octets = bytes(room)
    assert octets[6:] == bytes(ether(A, GATEWAY) / packet)[6:]
    return Mac(octets[:6])


@pytest.mark.parametrize("layer", [TCP, UDP])
@pytest.mark.parametrize("ends", [(IP, CLIENT, MEMBER), (IPv6, CLIENT6, MEMBER6)])
def test_a_members_answers_go_to_the_relay_their_client_came_by(
    layer: type[Packet], ends: tuple[type[Packet], str, str]
) -> None:
    network, client, member = ends
    for relay, place in ((RELAY, Send(PEER)), (HERE, Deliver(P3))):
        host = Host()
        asked = network(src=client, dst=member) / layer(sport=1000, dport=53) / b"hello"
        assert host.asks(asked, relay) == Deliver(P1)
        answer = network(src=member, dst=client) / layer(sport=53, dport=1000) / b"hello"
        action = host.answers(answer)
        assert goes_to(action, answer) == relay
        assert isinstance(action, Rewrite)
        assert action.then == place


def test_what_no_client_asked_for_goes_where_it_always_went() -> None:
    host = Host()
    host.settle()
    host.asks(there())
    assert host.answers(back(port=1001)) == ASTRAY  # the gateway is nobody
    host.switch.add_port(Port(ROUTER, BLUE, GATEWAY, (ip("10.9.0.254"),)))
    assert host.answers(back(port=1001)) == Deliver(ROUTER)
    assert goes_to(host.answers(back()), back()) == RELAY


def test_a_relay_that_speaks_for_itself_is_answered_like_anybody() -> None:
    host = Host()
    own = IP(src="10.9.0.71", dst=MEMBER) / TCP(sport=1000, dport=8080)
    assert host.asks(own) == Deliver(P1)
    assert not len(host.switch.flows)


def test_one_that_does_not_relay_is_no_way_back() -> None:
    host = Host()
    host.switch.from_link(P2, bytearray(bytes(ether(B, A) / there())), host.now)
    host.settle()
    assert host.answers(back()) == ASTRAY


def test_of_two_relays_with_the_same_client_and_port_the_first_keeps_it_until_it_is_over() -> None:
    host = Host()
    host.asks(there())
    host.answers(back())
    assert host.asks(there(), OTHER_RELAY) == Deliver(P1)
    assert goes_to(host.answers(back("A")), back("A")) == RELAY
    host.asks(there("FA"))
    host.answers(back("FA"))
    host.asks(there(), OTHER_RELAY)
    assert goes_to(host.answers(back()), back()) == OTHER_RELAY


def test_a_relay_that_is_gone_keeps_nobody_out() -> None:
    host = Host()
    host.asks(there(), HERE)
    host.answers(back())
    host.switch.remove_port(P3)
    host.settle()
    assert host.answers(back("A")) == ASTRAY
    host.asks(there(), OTHER_RELAY)
    assert goes_to(host.answers(back()), back()) == OTHER_RELAY


def test_after_a_start_no_router_hears_of_connections_whose_clients_are_not_known_yet() -> None:
    host = Host()
    host.switch.add_port(Port(ROUTER, BLUE, GATEWAY, (ip("10.9.0.254"),)))
    assert host.answers(back("PA")) == ASTRAY
    assert host.answers(back("S")) == Deliver(ROUTER)  # the member begins a connection of its own
    other = IP(src=MEMBER, dst=CLIENT) / TCP(sport=22, dport=1000, flags="PA")
    assert host.answers(other) == Deliver(ROUTER)
    host.asks(there("A"))
    assert goes_to(host.answers(back("PA")), back("PA")) == RELAY
    host.settle()
    assert host.answers(back("PA", port=1001)) == Deliver(ROUTER)


def test_a_way_back_is_kept_as_long_as_a_flow_may_be_idle() -> None:
    host = Host()
    host.asks(there())
    host.answers(back())
    host.asks(there("A"))
    host.now += IDLE_S[Protocol.TCP, FlowState.SETTLED]
    assert goes_to(host.answers(back("A")), back("A")) == RELAY
    host.now += IDLE_S[Protocol.TCP, FlowState.SETTLED] + 1
    host.switch.expire(host.now)
    assert host.answers(back("A")) == ASTRAY
    assert not len(host.switch.flows)


def test_new_services_leave_ways_back_alone_and_resets_are_told() -> None:
    host = Host()
    host.asks(there())
    assert goes_to(host.answers(back("RA")), back("RA")) == RELAY
    host.program(RELAYS)
    assert goes_to(host.answers(back("A")), back("A")) == RELAY
    assert not host.switch.resets()


def test_errors_about_a_clients_packet_and_fragments_of_answers_find_back_too() -> None:
    host = Host()
    asked = IP(src=CLIENT, dst=MEMBER) / UDP(sport=1000, dport=5353) / b"hello"
    host.asks(asked)
    quoted = IPerror(bytes(IP(bytes(asked)))[:20]) / UDPerror(bytes(asked)[20:])
    error = IP(src=MEMBER, dst=CLIENT) / ICMP(type=3, code=3) / quoted
    action = host.answers(error)
    assert isinstance(action, Rewrite)
    assert isinstance(action.change, bytes)
    assert action.change[:6] == RELAY
    assert action.change[6:] == bytes(ether(A, GATEWAY) / error)[6:]
    whole = IP(src=MEMBER, dst=CLIENT, id=7) / UDP(sport=5353, dport=1000) / Raw(bytes(3_000))
    for part in fragment(whole, 1_400):
        assert goes_to(host.answers(part), part) == RELAY


def test_a_gateway_that_nobody_is_is_answered_for() -> None:
    host = Host()
    for kind, action in (("ARP", host.arp("10.9.0.254")), ("ND", host.nd("fd09::fe"))):
        assert isinstance(action, Reply), kind
        answer = Ether(action.frame)
        assert answer.src == format_mac(GATEWAY)
        assert ARP in answer or answer[ICMPv6ND_NA].R == 1
    host.program(SetEntry(BLUE, mac(0x500), PEER, (ip("10.9.0.254"),)))
    action = host.arp("10.9.0.254")  # somebody is it, by now
    assert isinstance(action, Reply)
    assert Ether(action.frame).src == format_mac(mac(0x500))
    assert not isinstance(host.arp("10.9.0.253"), Reply)


def test_nobody_is_kept_from_being_the_gateway() -> None:
    host = Host()
    probe = IPv6(src="::", dst="ff02::1:ff00:fe") / ICMPv6ND_NS(tgt="fd09::fe")
    frame = bytearray(bytes(Ether(src=format_mac(B), dst="33:33:ff:00:00:fe") / probe))
    assert not isinstance(host.switch.from_link(P2, frame, host.now), Reply)
    host.program(SetPeers(BLUE, (Peer(PEER), Peer(FOREIGN, learning=True))))
    assert not isinstance(host.arp("10.9.0.254"), Reply)  # a router may be behind that
