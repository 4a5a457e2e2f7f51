"""ARP and neighbour discovery: answered for those who are known, passed on for all others."""

import pytest
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet as Layer

from tests.switch.site import BLUE, FOREIGN, P1, P2, PEER, A, B, C, D, Site, frame, ip, tagged
from vxnet.switch.actions import Deliver, Flood, Learned, Reply, Send
from vxnet.switch.limits import Limits
from vxnet.switch.model import Port, RemoveEntry
from vxnet.wire import arp, nd
from vxnet.wire.addr import BROADCAST, Ip, Mac
from vxnet.wire.arp import Arp, Operation

IP_A, IP_B, IP_C = ip("10.9.0.1"), ip("10.9.0.2"), ip("10.9.0.3")
IP6_A, IP6_B, IP6_C = ip("fd09::1"), ip("fd09::2"), ip("fd09::3")
NOBODY4, NOBODY6 = ip("0.0.0.0"), ip("::")


def site_with_c(**blue: bool) -> Site:
    """C, a router with both kinds of address, is held at the peer."""
    site = Site(**blue)
    site.hold(C, PEER, "10.9.0.3", "fd09::3", router=True)
    return site


def announcement(source: Mac, address: Ip, operation: int = Operation.REQUEST) -> bytes:
    """A gratuitous ARP."""
    return arp.build(BROADCAST, source, Arp(operation, source, address, Mac(bytes(6)), address))


def advertisement(
    source: Mac, target: str, *, solicited: int = 0, named: Mac | None = None
) -> bytes:
    """A neighbour advertisement to all nodes."""
    return bytes(
        Ether(src=source.hex(":"), dst="33:33:00:00:00:01")
        / IPv6(src=target, dst="ff02::1", hlim=255)
        / ICMPv6ND_NA(tgt=target, R=0, S=solicited, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=(named or source).hex(":"))
    )


@pytest.mark.conformance("V7")
def test_arp_for_a_known_address_is_answered_with_the_owners_mac() -> None:
    site = site_with_c()
    answer = site.link(P1, arp.request(A, IP_A, IP_C))
    assert isinstance(answer, Reply)
    reply = Ether(answer.frame)
    assert (reply.src, reply.dst) == (C.hex(":"), A.hex(":"))
    assert (reply[ARP].op, reply[ARP].hwsrc, reply[ARP].psrc) == (2, C.hex(":"), "10.9.0.3")
    assert (reply[ARP].hwdst, reply[ARP].pdst) == (A.hex(":"), "10.9.0.1")


@pytest.mark.conformance("V9")
def test_a_solicitation_for_a_known_address_is_answered_with_the_owners_mac() -> None:
    site = site_with_c()
    answer = site.link(P1, nd.solicit(A, IP6_A, IP6_C))
    assert isinstance(answer, Reply)
    reply = Ether(answer.frame)
    assert (reply.src, reply.dst) == (C.hex(":"), A.hex(":"))
    assert reply[IPv6].hlim == 255
    message = reply[ICMPv6ND_NA]
    assert (message.tgt, message.R, message.S, message.O) == ("fd09::3", 1, 1, 1)
    assert reply[ICMPv6NDOptDstLLAddr].lladdr == C.hex(":")


@pytest.mark.conformance("V7", "V9")
@pytest.mark.parametrize(
    "question", [arp.request(A, IP_A, IP_B), nd.solicit(A, IP6_A, IP6_B)], ids=["arp", "nd"]
)
def test_who_is_not_known_is_asked_for_everywhere(question: bytes) -> None:
    site = site_with_c()
    assert site.link(P1, question) == site.everybody_but(P1)


@pytest.mark.conformance("V7")
@pytest.mark.parametrize(
    "question", [arp.request(C, IP_A, IP_C), nd.solicit(C, IP6_A, IP6_C)], ids=["arp", "nd"]
)
def test_nobody_is_answered_about_itself(question: bytes) -> None:
    site = site_with_c()
    assert site.link(P1, question) == site.everybody_but(P1)


def test_the_owner_behind_the_askers_port_answers_itself() -> None:
    site = Site()
    site.link(P1, announcement(B, IP_B))
    assert site.link(P1, arp.request(A, IP_A, IP_B)) == site.everybody_but(P1)
    assert isinstance(site.link(P2, arp.request(C, IP_C, IP_B)), Reply)


def test_an_address_is_known_as_long_as_its_entry() -> None:
    site = site_with_c()
    site.hold(C, PEER, "10.9.0.9")
    assert site.link(P1, arp.request(A, IP_A, IP_C)) == site.everybody_but(P1)
    assert isinstance(site.link(P1, arp.request(A, IP_A, ip("10.9.0.9"))), Reply)
    site.program(RemoveEntry(BLUE, C))
    assert site.link(P1, arp.request(A, IP_A, ip("10.9.0.9"))) == site.everybody_but(P1)


def test_ports_addresses_are_answered_for_too() -> None:
    site = Site(ports=(Port(P1, BLUE), Port(P2, BLUE, B, (IP_B, IP6_B))))
    for question in (arp.request(A, IP_A, IP_B), nd.solicit(A, IP6_A, IP6_B)):
        answer = site.link(P1, question)
        assert isinstance(answer, Reply)
        assert answer.frame[6:12] == B


def test_questions_from_tunnels_are_answered_by_the_owner() -> None:
    site = Site(ports=(Port(P1, BLUE, A, (IP_A,)), Port(P2, BLUE)))
    for source in (PEER, FOREIGN):
        assert site.underlay(source, arp.request(C, IP_C, IP_A)) == Flood((P1, P2), ())


def test_a_question_to_the_owner_alone_reaches_it() -> None:
    site = site_with_c()
    ask = Arp(Operation.REQUEST, A, IP_A, C, IP_C)
    assert site.link(P1, arp.build(C, A, ask)) == Send(PEER)
    question = bytearray(nd.solicit(A, IP6_A, IP6_C))
    question[:6] = C
    assert site.link(P1, bytes(question)) == Send(PEER)


@pytest.mark.parametrize(
    "question", [arp.request(A, IP_A, IP_C), nd.solicit(A, IP6_A, IP6_C)], ids=["arp", "nd"]
)
def test_nothing_is_answered_where_the_network_says_so(question: bytes) -> None:
    site = site_with_c(suppress_neighbours=False)
    assert site.link(P1, question) == site.everybody_but(P1)


@pytest.mark.conformance("V8")
@pytest.mark.parametrize(
    ("notice", "question"),
    [
        (announcement(B, IP_B), arp.request(A, IP_A, IP_B)),
        (announcement(B, IP_B, Operation.REPLY), arp.request(A, IP_A, IP_B)),
        (arp.request(B, IP_B, ip("10.9.0.77")), arp.request(A, IP_A, IP_B)),
        (advertisement(B, "fd09::2"), nd.solicit(A, IP6_A, IP6_B)),
        (advertisement(B, "fd09::2", solicited=1), nd.solicit(A, IP6_A, IP6_B)),
        (nd.solicit(B, IP6_B, ip("fd09::77")), nd.solicit(A, IP6_A, IP6_B)),
    ],
    ids=["garp", "garp reply", "request", "unsolicited na", "na", "ns"],
)
def test_what_stations_say_of_themselves_is_noted_and_passed_on(
    notice: bytes, question: bytes
) -> None:
    for source in ("link", "underlay"):
        site = Site()
        if source == "link":
            assert site.link(P2, notice) == site.everybody_but(P2)
            address = IP_B if notice[12:14] == b"\x08\x06" else IP6_B
            assert site.events() == [Learned(BLUE, B, P2), Learned(BLUE, B, P2, address)]
        else:
            assert site.underlay(FOREIGN, notice) == Flood((P1, P2), ())
        answer = site.link(P1, question)
        assert isinstance(answer, Reply)
        assert answer.frame[6:12] == B


@pytest.mark.conformance("V8")
@pytest.mark.parametrize(
    "probe", [arp.request(B, NOBODY4, IP_C), arp.request(B, NOBODY4, IP_B)], ids=["known", "free"]
)
def test_arp_probes_are_passed_on_and_claim_nothing(probe: bytes) -> None:
    site = site_with_c()
    assert site.link(P2, probe) == site.everybody_but(P2)
    assert site.events() == [Learned(BLUE, B, P2)]
    assert site.link(P1, arp.request(A, IP_A, IP_B)) == site.everybody_but(P1)


@pytest.mark.conformance("V8")
def test_a_claim_to_an_address_that_moved_follows_the_latest() -> None:
    site = Site()
    site.link(P1, announcement(A, IP_B))
    site.link(P2, announcement(B, IP_B))
    answer = site.link(P1, arp.request(C, IP_C, IP_B))
    assert isinstance(answer, Reply)
    assert answer.frame[6:12] == B
    row = site.row(A)
    assert row is not None
    assert row.ips == ()


def test_a_claim_to_an_announced_address_is_not_believed_but_passed_on() -> None:
    site = site_with_c()
    assert site.link(P2, announcement(B, IP_C)) == site.everybody_but(P2)
    answer = site.link(P1, arp.request(A, IP_A, IP_C))
    assert isinstance(answer, Reply)
    assert answer.frame[6:12] == C


def test_two_owners_of_an_address_stand_in_order() -> None:
    site = site_with_c()
    site.hold(D, FOREIGN, "10.9.0.3")
    for owner in (C, D):
        answer = site.link(P1, arp.request(A, IP_A, IP_C))
        assert isinstance(answer, Reply)
        assert answer.frame[6:12] == owner
        site.program(RemoveEntry(BLUE, owner))
    assert site.link(P1, arp.request(A, IP_A, IP_C)) == site.everybody_but(P1)


def test_a_claim_on_anothers_behalf_is_not_believed() -> None:
    site = Site()
    octets = arp.build(BROADCAST, B, Arp(Operation.REPLY, D, IP_B, B, IP_B))
    site.link(P2, octets)
    site.link(P2, advertisement(B, "fd09::2", named=D))
    site.underlay(FOREIGN, octets.replace(B, C))
    assert site.link(P1, arp.request(A, IP_A, IP_B)) == site.everybody_but(P1)
    assert site.link(P1, nd.solicit(A, IP6_A, IP6_B)) == site.everybody_but(P1)


def test_an_ordinary_peers_claims_are_left_to_the_control_plane() -> None:
    site = Site()
    site.underlay(PEER, announcement(B, IP_B))
    assert site.link(P1, arp.request(A, IP_A, IP_B)) == site.everybody_but(P1)


@pytest.mark.parametrize("address", ["0.0.0.1", "127.0.0.1", "224.0.0.1", "255.255.255.255"])
def test_addresses_no_station_has_are_not_noted(address: str) -> None:
    site = Site()
    site.link(P1, announcement(A, ip(address)))
    assert site.events() == [Learned(BLUE, A, P1)]


def test_a_station_has_so_many_addresses_and_the_latest_count() -> None:
    site = Site(Limits(ips_per_station_max=3))
    for number in range(1, 6):
        site.link(P1, announcement(A, ip(f"10.9.0.{number}")))
    row = site.row(A)
    assert row is not None
    assert row.ips == tuple(ip(f"10.9.0.{number}") for number in (3, 4, 5))
    assert len(site.events()) == 6


def test_addresses_heard_are_forgotten_with_their_station() -> None:
    site = Site()
    site.link(P1, announcement(B, IP_B))
    site.wait(300)
    assert site.link(P2, arp.request(A, IP_A, IP_B)) == site.everybody_but(P2)


def test_repeating_oneself_is_no_news() -> None:
    site = Site(Limits(news_burst=2, news_per_s=0))
    for _ in range(50):
        site.link(P1, announcement(A, IP_A))
    assert site.events() == [Learned(BLUE, A, P1), Learned(BLUE, A, P1, IP_A)]


def test_a_station_that_comes_from_a_foreign_vtep_brings_its_addresses() -> None:
    site = Site()
    site.underlay(FOREIGN, announcement(B, IP_B))
    site.link(P1, frame(B, A))
    assert site.events() == [Learned(BLUE, B, P1), Learned(BLUE, B, P1, IP_B)]


@pytest.mark.conformance("V10")
def test_a_probe_for_an_address_owned_elsewhere_is_answered_to_all_nodes() -> None:
    site = site_with_c()
    answer = site.link(P1, nd.solicit(A, NOBODY6, IP6_C))
    assert isinstance(answer, Reply)
    reply = Ether(answer.frame)
    assert (reply.dst, reply[IPv6].dst) == ("33:33:00:00:00:01", "ff02::1")
    assert (reply[ICMPv6ND_NA].S, reply[ICMPv6ND_NA].tgt) == (0, "fd09::3")


@pytest.mark.conformance("V10")
@pytest.mark.parametrize("owner", [None, C, B], ids=["free", "own", "heard"])
def test_a_probe_for_any_other_address_is_passed_on(owner: Mac | None) -> None:
    site = Site()
    if owner == C:
        site.hold(A, PEER, "fd09::3")
    elif owner == B:
        site.link(P2, advertisement(B, "fd09::3"))
    assert site.link(P1, nd.solicit(A, NOBODY6, IP6_C)) == site.everybody_but(P1)


@pytest.mark.conformance("V10")
@pytest.mark.parametrize(
    "message",
    [
        ICMPv6ND_RS() / ICMPv6NDOptSrcLLAddr(lladdr=A.hex(":")),
        ICMPv6ND_RA() / ICMPv6NDOptSrcLLAddr(lladdr=A.hex(":")),
        ICMPv6EchoRequest(),
    ],
    ids=["rs", "ra", "echo"],
)
def test_router_messages_are_passed_on(message: Layer) -> None:
    site = Site(ports=(Port(P1, BLUE, A, (IP6_A,)), Port(P2, BLUE)))
    octets = bytes(
        Ether(src=A.hex(":"), dst="33:33:00:00:00:02")
        / IPv6(src="fe80::ff:fe00:a", dst="ff02::2", hlim=255)
        / message
    )
    assert site.link(P1, octets) == site.everybody_but(P1)


@pytest.mark.conformance("V9")
@pytest.mark.parametrize("hops", [0, 64, 254])
def test_a_solicitation_that_a_router_may_have_passed_on_is_ignored(hops: int) -> None:
    site = site_with_c()
    octets = bytes(
        Ether(src=A.hex(":"), dst="33:33:ff:00:00:03")
        / IPv6(src="fd09::1", dst="ff02::1:ff00:3", hlim=hops)
        / ICMPv6ND_NS(tgt="fd09::3")
        / ICMPv6NDOptSrcLLAddr(lladdr=A.hex(":"))
    )
    assert site.link(P1, octets) == site.everybody_but(P1)
    assert site.events() == [Learned(BLUE, A, P1)]
    assert site.underlay(FOREIGN, octets.replace(A, D)) == Flood((P1, P2), ())


def test_what_is_said_inside_a_tag_concerns_another_network() -> None:
    site = site_with_c(vlan_transparent=True)
    for octets in (arp.request(A, IP_A, IP_C), announcement(A, IP_A)):
        assert site.link(P1, tagged(octets, 5)) == site.everybody_but(P1)
        assert site.underlay(FOREIGN, tagged(octets, 5).replace(A, D)) == Flood((P1, P2), ())
    assert site.events() == [Learned(BLUE, A, P1)]
    assert site.link(P2, arp.request(B, IP_B, IP_A)) == site.everybody_but(P2)


def test_an_answer_needs_no_entry_for_the_asker() -> None:
    site = Site(Limits(learned_max=0))
    site.hold(C, PEER, "10.9.0.3")
    assert isinstance(site.link(P1, arp.request(A, IP_A, IP_C)), Reply)
    assert site.row(A) is None


def test_replies_between_stations_are_delivered() -> None:
    site = Site()
    site.link(P1, frame(A, B))
    reply = arp.reply(arp.parse(arp.request(A, IP_A, IP_B)), B)
    assert site.link(P2, reply) == Deliver(P1)
