"""A service's address: one member for a flow, the same for all its packets, and back under it."""

from array import array
from collections import Counter

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, UDPerror, fragment
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from tests.switch.site import BLUE, P1, P2, PEER, A, B, Site, ip, mac
from vxnet.switch.actions import Action, Deliver, Drop, DropReason, Reply, Rewrite, Send
from vxnet.switch.balancer import PASSED_OVER_MAX, REFUSAL_S
from vxnet.switch.flows import FLOWS_MAX, IDLE_S, Flow, FlowKey, Flows, FlowState, Tally
from vxnet.switch.maglev import table
from vxnet.switch.model import Member, Port, Service, ServicePort, SetEntry, SetServices
from vxnet.wire import ip as wire_ip
from vxnet.wire.addr import format_mac
from vxnet.wire.ip import Protocol
from vxnet.wire.rewrite import Edit, apply

VIP, VIP_MAC = ip("10.9.0.100"), mac(0x100)
CLIENT, OTHER = ip("10.9.0.1"), ip("10.9.0.2")
TCP_80, UDP_53 = ServicePort(6, 80, 8080), ServicePort(17, 53, 5353)
PORTS = (Port(P1, BLUE, A, (CLIENT,)), Port(P2, BLUE, B, (OTHER,)))


def member(number: int, *, takes_new: bool = True) -> Member:
    """A member on the other host."""
    return Member(mac(0x200 + number), ip(f"10.9.0.{200 + number}"), takes_new)


def service(*members: Member, prefer_local: bool = False) -> Service:
    hashed = [m.mac for m in members if m.takes_new]
    slots = array("H", table(hashed)).tobytes()
    return Service(BLUE, VIP_MAC, VIP, (TCP_80, UDP_53), members, slots, prefer_local)


class Shop(Site):
    """A client and a neighbour here, members on the other host."""

    def __init__(self, count: int = 3) -> None:
        super().__init__(ports=PORTS)
        self.members = [member(number) for number in range(count)]
        self.program(*(SetEntry(BLUE, m.mac, PEER, (m.ip,)) for m in self.members))
        self.serve(*self.members)

    def serve(self, *members: Member, prefer_local: bool = False) -> None:
        self.program(SetServices(BLUE, (service(*members, prefer_local=prefer_local),)))

    def there(self, packet: Packet, port: int = 1000, flags: str = "S", **more: object) -> Action:
        layer = packet or TCP(sport=port, dport=80, flags=flags, **more)
        frame = bytes(ether(A, VIP_MAC) / IP(src="10.9.0.1", dst="10.9.0.100") / layer)
        return self.switch.from_link(P1, bytearray(frame), self.now)

    def back(self, number: int, packet: Packet, source: str = "") -> Action:
        chosen = self.members[number]
        address = source or f"10.9.0.{200 + number}"
        frame = bytes(ether(chosen.mac, A) / IP(src=address, dst="10.9.0.1") / packet)
        return self.switch.from_underlay(BLUE, PEER.ip, bytearray(frame), self.now)


def ether(source: bytes, destination: bytes) -> Packet:
    return Ether(src=format_mac(source), dst=format_mac(destination))


def changed(frame: bytes, action: Action, *, is_partial: bool = False) -> Packet:
    """The frame as it goes on, its checksums checked."""
    assert isinstance(action, Rewrite), action
    if isinstance(action.change, bytes):
        octets = action.change
    else:
        room = bytearray(frame)
        found = wire_ip.locate(room)
        assert found is not None
        apply(action.change, room, found, is_partial=is_partial, has_ports=action.has_ports)
        octets = bytes(room)
    if not is_partial:
        assert octets == rebuilt(octets)
    return Ether(octets)


def rebuilt(octets: bytes) -> bytes:
    """With checksums as scapy makes them."""
    packet = Ether(octets)
    for layer in (IP, TCP, UDP, ICMP):
        if layer in packet and packet[IP].frag == 0 and not packet[IP].flags.MF:
            del packet[layer].chksum
    return bytes(packet)


def chosen_by(shop: Shop, port: int) -> int:
    action = shop.there(None, port)
    assert isinstance(action, Rewrite)
    assert isinstance(action.change, Edit)
    return action.change.destination[3] - 200


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("transport", [TCP, UDP])
def test_a_rewritten_packet_is_one_that_somebody_could_have_sent(
    version: int, transport: type
) -> None:
    addresses = {4: ("10.9.0.1", "10.9.0.100"), 6: ("fd09::1", "fd09::100")}[version]
    after = {4: ("10.9.0.1", "10.9.0.7"), 6: ("fd09::1", "fd09::7")}[version]
    network = IP if version == 4 else IPv6
    for size in (0, 1, 99):
        payload = Raw(bytes(range(size)))
        layer = transport(sport=1000, dport=80) / payload
        frame = bytearray(
            bytes(ether(A, VIP_MAC) / network(src=addresses[0], dst=addresses[1]) / layer)
        )
        found = wire_ip.locate(frame)
        assert found is not None
        edit = Edit(B, A, ip(after[0]), ip(after[1]), 1000, 8080)
        apply(edit, frame, found, is_partial=False, has_ports=True)
        layer = transport(sport=1000, dport=8080) / payload
        assert bytes(frame) == bytes(ether(A, B) / network(src=after[0], dst=after[1]) / layer)


def test_a_datagram_without_checksum_stays_without() -> None:
    frame = bytearray(
        bytes(ether(A, VIP_MAC) / IP(src="10.9.0.1", dst="10.9.0.100") / UDP(chksum=0) / b"hello")
    )
    found = wire_ip.locate(frame)
    assert found is not None
    apply(Edit(B, A, CLIENT, OTHER, 1, 2), frame, found, is_partial=False, has_ports=True)
    assert Ether(bytes(frame))[UDP].chksum == 0


def test_every_packet_of_a_flow_goes_to_one_member_and_comes_back_as_the_services() -> None:
    shop = Shop()
    first = shop.there(None, 1000)
    assert isinstance(first, Rewrite)
    assert first.then == Send(PEER)
    for flags in ("A", "PA", "FA"):
        assert shop.there(None, 1000, flags) == first
    number = chosen_by(shop, 1000)
    frame = bytes(
        ether(shop.members[number].mac, A)
        / IP(src=f"10.9.0.{200 + number}", dst="10.9.0.1")
        / TCP(sport=8080, dport=1000, flags="SA")
    )
    answer = shop.switch.from_underlay(BLUE, PEER.ip, bytearray(frame), shop.now)
    assert isinstance(answer, Rewrite)
    assert answer.then == Deliver(P1)
    seen = changed(frame, answer)
    assert (seen[IP].src, seen[TCP].sport, seen.src) == ("10.9.0.100", 80, format_mac(VIP_MAC))
    assert (seen[IP].dst, seen[TCP].dport, seen.dst) == ("10.9.0.1", 1000, format_mac(A))


def test_flows_spread_evenly_and_stay_when_others_members_come_and_go() -> None:
    shop = Shop(10)
    template = ether(A, VIP_MAC) / IP(src="10.9.0.1", dst="10.9.0.100")
    opening = bytearray(bytes(template / TCP(dport=80, flags="S")))
    going_on = bytearray(bytes(template / TCP(dport=80, flags="A")))

    def member_of(frame: bytearray, port: int) -> int:
        frame[34:36] = port.to_bytes(2)
        action = shop.switch.from_link(P1, frame, shop.now)
        assert isinstance(action, Rewrite)
        assert isinstance(action.change, Edit)
        return action.change.destination[3] - 200

    before = {port: member_of(opening, port) for port in range(1000, 61_000)}
    counts = Counter(before.values())
    assert all(abs(count - 6_000) <= 300 for count in counts.values()), counts
    shop.serve(*shop.members[1:])
    assert all(member_of(going_on, port) == number for port, number in before.items() if number)


def test_hardly_any_slot_changes_but_those_of_the_member_that_goes() -> None:
    members = [f"member {number}".encode() for number in range(100)]
    before = table(members)
    spread = Counter(before).values()
    assert max(spread) - min(spread) <= 1
    for gone in (0, 42, 99):
        rest = members[:gone] + members[gone + 1 :]
        moved = sum(
            members[one] != rest[other] for one, other in zip(before, table(rest), strict=True)
        )
        assert moved <= len(before) * 0.02


def test_a_connection_to_a_member_itself_is_not_taken_for_one_of_the_service_that_is_over() -> None:
    shop = Shop(1)
    answer = TCP(sport=8080, dport=1000, flags="SA")
    straight = bytes(
        ether(A, shop.members[0].mac)
        / IP(src="10.9.0.1", dst="10.9.0.200")
        / TCP(sport=1000, dport=8080, flags="S")
    )

    def begin() -> Action:
        assert shop.switch.from_link(P1, bytearray(straight), shop.now) == Send(PEER)
        return shop.back(0, answer)

    assert begin() == Deliver(P1)
    shop.there(None, 1000)
    assert isinstance(shop.back(0, answer), Rewrite)
    assert isinstance(begin(), Rewrite)  # the service's goes on
    shop.there(None, 1000, "FA", ack=1)
    assert begin() == Deliver(P1)


def test_a_connection_to_a_dead_member_is_reset_at_once_and_whenever_it_speaks() -> None:
    shop = Shop()
    shop.there(None, 1000)
    number = chosen_by(shop, 1000)
    shop.back(number, TCP(sport=8080, dport=1000, flags="SA"))
    shop.there(None, 1000, "A", ack=4711)
    shop.serve(*(m for m in shop.members if m is not shop.members[number]))
    ((port, frame),) = shop.switch.resets()
    told = Ether(frame)
    assert port == P1
    assert frame == rebuilt(frame)
    assert (told[IP].src, told[TCP].sport, told[TCP].dport) == ("10.9.0.100", 80, 1000)
    assert (told[TCP].flags, told[TCP].seq, told.dst) == ("R", 4711, format_mac(A))
    again = shop.there(None, 1000, "PA", ack=5000)
    assert isinstance(again, Reply)
    assert Ether(again.frame)[TCP].seq == 5000
    # The port may be taken for a new connection, which finds a living member.
    assert isinstance(shop.there(None, 1000), Rewrite)


def test_a_member_that_drains_keeps_its_flows_and_gets_no_new_ones() -> None:
    shop = Shop(2)
    port = next(p for p in range(1000, 1100) if chosen_by(shop, p) == 0)
    shop.serve(member(1), member(0, takes_new=False))
    action = shop.there(None, port, "A")
    assert isinstance(action, Rewrite)
    assert isinstance(action.change, Edit)
    assert action.change.destination == shop.members[0].ip
    assert {chosen_by(shop, p) for p in range(2000, 2100)} == {1}


def test_ports_that_are_not_served_and_services_without_members_refuse() -> None:
    shop = Shop()
    refused = shop.there(TCP(sport=1000, dport=81, flags="S", seq=7))
    assert isinstance(refused, Reply)
    assert Ether(refused.frame)[TCP].flags == "RA"
    assert Ether(refused.frame)[TCP].ack == 8
    assert shop.there(UDP(sport=1, dport=9)) == Drop(DropReason.SERVICE_CLOSED)
    shop.serve(member(0, takes_new=False))
    assert isinstance(shop.there(None, 3000), Reply)
    assert shop.there(UDP(sport=1, dport=53)) == Drop(DropReason.SERVICE_EMPTY)


def test_the_address_answers_arp_and_pings_here() -> None:
    shop = Shop()
    asked = ether(A, b"\xff" * 6) / ARP(hwsrc=format_mac(A), psrc="10.9.0.1", pdst="10.9.0.100")
    answer = shop.switch.from_link(P1, bytes(asked), shop.now)
    assert isinstance(answer, Reply)
    assert Ether(answer.frame)[ARP].hwsrc == format_mac(VIP_MAC)
    probe = ether(A, VIP_MAC) / ARP(hwsrc=format_mac(A), psrc="10.9.0.1", pdst="10.9.0.100")
    assert isinstance(shop.switch.from_link(P1, bytes(probe), shop.now), Reply)
    pong = shop.there(ICMP(type=8, id=3, seq=4) / b"ping")
    assert isinstance(pong, Reply)
    assert pong.frame == rebuilt(pong.frame)
    assert (Ether(pong.frame)[ICMP].type, Ether(pong.frame)[Raw].load) == (0, b"ping")


def test_an_error_about_a_flows_packet_names_the_service_to_its_client() -> None:
    shop = Shop(1)
    shop.there(UDP(sport=1000, dport=53))
    quoted = IPerror(src="10.9.0.1", dst="10.9.0.200") / UDPerror(sport=1000, dport=5353)
    action = shop.back(0, ICMP(type=3, code=3) / quoted)
    assert isinstance(action, Rewrite)
    assert isinstance(action.change, bytes)
    told = Ether(action.change)
    assert told[IP].src == "10.9.0.100"
    assert (told[IPerror].dst, told[UDPerror].dport) == ("10.9.0.100", 53)
    assert action.then == Deliver(P1)
    mine = IPerror(src="10.9.0.100", dst="10.9.0.1") / UDPerror(sport=53, dport=1000)
    action = shop.there(ICMP(type=3, code=3) / mine)
    assert isinstance(action, Rewrite)
    assert isinstance(action.change, bytes)
    assert Ether(action.change)[ICMP].type == 3
    assert (Ether(action.change)[IPerror].src, Ether(action.change)[UDPerror].sport) == (
        "10.9.0.200",
        5353,
    )
    assert action.then == Send(PEER)


def test_fragments_follow_the_first_of_their_packet() -> None:
    shop = Shop()
    whole = IP(src="10.9.0.1", dst="10.9.0.100", id=77) / UDP(sport=1000, dport=53) / bytes(3000)
    pieces = [bytes(ether(A, VIP_MAC) / piece) for piece in fragment(whole, 1400)]
    late = shop.switch.from_link(P1, bytearray(pieces[1]), shop.now)
    assert late == Drop(DropReason.SERVICE_FRAGMENT)
    seen = []
    for piece in pieces:
        action = shop.switch.from_link(P1, bytearray(piece), shop.now)
        seen.append(changed(piece, action, is_partial=True))
    assert len({one[IP].dst for one in seen}) == 1
    assert seen[0][IP].dst != "10.9.0.100"


def test_a_member_that_asks_its_own_service_gets_another_or_itself_under_the_services_address() -> (
    None
):
    shop = Shop(1)
    shop.serve(Member(A, CLIENT), shop.members[0])
    assert {chosen_by(shop, port) for port in range(1000, 1050)} == {0}
    shop.serve(Member(A, CLIENT))
    action = shop.there(None, 2000)
    assert isinstance(action, Rewrite)
    assert action.then == Deliver(P1)
    assert isinstance(action.change, Edit)
    assert (action.change.source, action.change.destination) == (VIP, CLIENT)
    answer = bytes(
        ether(A, VIP_MAC)
        / IP(src="10.9.0.1", dst="10.9.0.100")
        / TCP(sport=8080, dport=2000, flags="SA")
    )
    back = shop.switch.from_link(P1, bytearray(answer), shop.now)
    seen = changed(answer, back)
    assert (seen[IP].src, seen[TCP].sport, seen[IP].dst) == ("10.9.0.100", 80, "10.9.0.1")


def test_members_of_this_host_come_first_where_the_service_says_so() -> None:
    shop = Shop(3)
    shop.serve(*shop.members, Member(B, OTHER), prefer_local=True)
    for port in range(1000, 1050):
        action = shop.there(None, port)
        assert isinstance(action, Rewrite)
        assert action.then == Deliver(P2)


def flow(number: int, protocol: Protocol = Protocol.TCP) -> Flow:
    key = FlowKey(BLUE, protocol, CLIENT, number, VIP, 80)
    back = FlowKey(BLUE, protocol, OTHER, 8080, CLIENT, number)
    edit = Edit(A, B, CLIENT, OTHER, number, 80)
    return Flow(key, back, B, P1, edit, edit)


def test_an_idle_connection_is_kept_for_more_than_two_hours() -> None:
    flows = Flows()
    kept = flow(1)
    flows.add(kept, 0.0)
    flows.touch(kept, 1.0, 0x10, is_answer=True)
    flows.expire(7_860.0)
    assert flows.there(kept.key, 1.0 + 2 * 3600 + 11 * 60) is kept
    assert flows.there(kept.key, 1.0 + IDLE_S[Protocol.TCP, FlowState.SETTLED] + 1) is None
    assert len(flows) == 0


def test_200_000_flows_are_held_and_the_youngest_unanswered_go_first() -> None:
    assert FLOWS_MAX >= 200_000
    flows = Flows(flows_max=100)
    settled = [flow(number) for number in range(50)]
    for one in settled:
        flows.add(one, 0.0)
        flows.touch(one, 1.0, 0x10, is_answer=True)
    for number in range(1000, 3000):
        flows.add(flow(number), 2.0)
    assert len(flows) == 100
    assert all(flows.there(one.key, 3.0) is one for one in settled)
    assert flows.evicted == 1_950


def test_flows_are_counted_from_their_beginning_also_when_they_are_over() -> None:
    flows = Flows()
    first, second = flow(1), flow(2)
    flows.add(first, 0.0)
    flows.add(second, 0.0)
    flows.remove(first)
    assert flows.count(BLUE, (VIP,)) == {B: Tally(now=1, begun=2)}
    flows.remove(second)
    assert flows.count(BLUE, (VIP,)) == {B: Tally(now=0, begun=2)}
    assert flows.count(BLUE, (OTHER,)) == {}


def test_closed_connections_and_silent_datagrams_are_forgotten_by_themselves() -> None:
    flows = Flows()
    closed, quiet, kept = flow(1), flow(2, Protocol.UDP), flow(3)
    for one in (closed, quiet, kept):
        flows.add(one, 0.0)
        flows.touch(one, 0.0, 0x10, is_answer=True)
    flows.touch(closed, 0.0, 0x11, is_answer=False)
    for second in range(0, 400, 10):
        flows.expire(float(second))
    assert [one.key.source_port for one in flows] == [3]


def test_a_member_that_refuses_is_passed_over_and_its_client_told_only_where_all_do() -> None:
    shop = Shop(2)
    first = chosen_by(shop, 1000)
    refusal = TCP(sport=8080, dport=1000, flags="RA")
    assert shop.back(first, refusal) == Drop(DropReason.SERVICE_REFUSED)
    assert {chosen_by(shop, port) for port in range(2000, 2050)} == {1 - first}
    assert chosen_by(shop, 1000) == 1 - first  # the SYN sent again
    assert isinstance(shop.back(1 - first, refusal), Rewrite)
    shop.now += REFUSAL_S
    assert {chosen_by(shop, port) for port in range(3000, 3050)} == {0, 1}


def test_a_reset_of_a_connection_that_was_taken_reaches_its_client() -> None:
    shop = Shop(2)
    first = chosen_by(shop, 1000)
    assert isinstance(shop.back(first, TCP(sport=8080, dport=1000, flags="SA")), Rewrite)
    assert isinstance(shop.back(first, TCP(sport=8080, dport=1000, flags="R")), Rewrite)
    assert {chosen_by(shop, port) for port in range(2000, 2050)} == {0, 1}


def test_a_connection_refused_again_and_again_is_refused() -> None:
    shop = Shop(9)
    for _ in range(PASSED_OVER_MAX):
        at = chosen_by(shop, 1000)
        refusal = TCP(sport=8080, dport=1000, flags="RA")
        assert shop.back(at, refusal) == Drop(DropReason.SERVICE_REFUSED)
    assert isinstance(shop.back(chosen_by(shop, 1000), refusal), Rewrite)


def test_a_connection_that_said_nothing_for_more_than_two_hours_goes_on_both_ways() -> None:
    shop = Shop()
    chosen = chosen_by(shop, 1000)
    assert isinstance(shop.back(chosen, TCP(sport=8080, dport=1000, flags="SA")), Rewrite)
    shop.there(None, 1000, "A", ack=1)
    until = shop.now + 2 * 3600 + 10 * 60
    while shop.now < until:
        shop.now += 10.0
        shop.program(*(SetEntry(BLUE, m.mac, PEER, (m.ip,)) for m in shop.members))
        shop.switch.expire(shop.now)
        shop.there(None, 2000 + int(shop.now) % 50_000)  # others come, and are not answered
    # New members would be given the flow if it were forgotten.
    shop.serve(*(member(9 - number) for number in range(3)), *shop.members)
    back = shop.back(chosen, TCP(sport=8080, dport=1000, flags="PA"))
    assert isinstance(back, Rewrite)
    assert back.then == Deliver(P1)
    action = shop.there(None, 1000, "PA", ack=1)
    assert isinstance(action, Rewrite)
    assert isinstance(action.change, Edit)
    assert action.change.destination == shop.members[chosen].ip
