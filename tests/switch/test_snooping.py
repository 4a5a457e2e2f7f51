"""Streams go only to who listens, once somebody asks; everything else floods as before."""

import pytest
from scapy.layers.igmp import IGMP_MQ, IGMPv2_LG, IGMPv2_MR, IGMPv3_MR, IGMPv3_MR_Group
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (
    ICMPv6MLDMultAddrRec,
    ICMPv6MLDone,
    ICMPv6MLQuery,
    ICMPv6MLReport2,
    IPv6,
    IPv6ExtHdrHopByHop,
    RouterAlert,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet as Layer

from tests.switch.site import BLUE, FOREIGN, P1, P2, P3, PEER, A, B, C, D, Site, ip
from vxnet.switch.actions import Drop, DropReason, Flood
from vxnet.switch.limits import Limits
from vxnet.switch.model import Peer, Port, SetPeers
from vxnet.wire.addr import Mac
from vxnet.wire.membership import group_mac

NOBODY = Drop(DropReason.NO_RECEIVER)
ALL = {4: "224.0.0.1", 6: "ff02::1"}
REPORTS = {4: "224.0.0.22", 6: "ff02::16"}
GROUPS = {4: "239.1.2.3", 6: "ff05::1:3"}
BOTH = pytest.mark.parametrize("version", [4, 6])


def packet(source: Mac, destination: str, message: Layer, *, sender: str | None = None) -> bytes:
    """A packet to a group, from a link's own address."""
    layer = Ether(src=source.hex(":"), dst=group_mac(ip(destination)).hex(":"))
    if ":" in destination:
        network = IPv6(src=sender or f"fe80::{source[5]:x}", dst=destination, hlim=1)
        if not isinstance(message, UDP):
            network /= IPv6ExtHdrHopByHop(options=[RouterAlert()])
    else:
        network = IP(src=sender or f"10.9.0.{source[5]}", dst=destination, ttl=1)
    return bytes(layer / network / message)


def query(version: int, source: Mac = D, group: str | None = None, **fields: str) -> bytes:
    """A router asks who listens, within a second."""
    if version == 4:
        message: Layer = IGMP_MQ(mrcode=10, gaddr=group or "0.0.0.0")
    else:
        message = ICMPv6MLQuery(mrd=1_000, mladdr=group or "::")
    return packet(source, group or ALL[version], message, **fields)


def report(version: int, source: Mac, *groups: str) -> bytes:
    """A host listens to groups."""
    if version == 4:
        records = [IGMPv3_MR_Group(rtype=4, maddr=group) for group in groups]
        return packet(source, REPORTS[4], IGMPv3_MR(records=records))
    records = [ICMPv6MLDMultAddrRec(rtype=4, dst=group) for group in groups]
    return packet(source, REPORTS[6], ICMPv6MLReport2(records=records))


def leave(version: int, source: Mac, group: str) -> bytes:
    """A host no longer listens."""
    if version == 4:
        return packet(source, "224.0.0.2", IGMPv2_LG(gaddr=group))
    return packet(source, "ff02::2", ICMPv6MLDone(mladdr=group))


def stream(source: Mac, group: str) -> bytes:
    """A packet of a stream."""
    return packet(source, group, UDP() / b"stream")


def site_with_router(version: int, **blue: bool) -> Site:
    """The router is behind the peer; port 3 is in the network too; its question was answered."""
    site = Site(**blue)
    site.switch.add_port(Port(P3, BLUE))
    assert site.underlay(PEER, query(version)) == Flood((P1, P2, P3), ())
    site.wait(5)
    return site


@pytest.mark.conformance("V12")
@BOTH
def test_a_stream_goes_only_to_ports_and_hosts_with_a_listener_and_to_the_router(
    version: int,
) -> None:
    site = site_with_router(version)
    group = GROUPS[version]
    assert site.link(P1, stream(A, group)) == Flood((), (PEER,))
    site.link(P2, report(version, B, group))
    assert site.link(P1, stream(A, group)) == Flood((P2,), (PEER,))
    site.underlay(FOREIGN, report(version, C, group))
    assert site.link(P1, stream(A, group)) == Flood((P2,), (PEER, FOREIGN))
    assert site.link(P2, stream(B, group)) == Flood((), (PEER, FOREIGN))
    assert site.underlay(PEER, stream(D, group)) == Flood((P2,), ())


@pytest.mark.conformance("V12")
@BOTH
def test_a_stream_from_a_tunnel_that_nobody_here_wants_is_dropped(version: int) -> None:
    site = site_with_router(version)
    assert site.underlay(PEER, stream(D, GROUPS[version])) == NOBODY


@pytest.mark.conformance("V12")
@BOTH
def test_everything_floods_until_a_querier_is_seen_and_was_answered(version: int) -> None:
    site = Site()
    group = GROUPS[version]
    site.link(P2, report(version, B, group))
    assert site.link(P1, stream(A, group)) == site.everybody_but(P1)
    site.underlay(PEER, query(version))
    site.wait(2.9)
    assert site.link(P1, stream(A, group)) == site.everybody_but(P1)
    site.wait(0.1)
    assert site.link(P1, stream(A, group)) == Flood((P2,), (PEER,))


@pytest.mark.conformance("V12")
@BOTH
def test_everything_floods_again_when_nobody_asks_any_more(version: int) -> None:
    site = site_with_router(version)
    site.wait(251)
    assert site.link(P1, stream(A, GROUPS[version])) == Flood((P2, P3), (PEER, FOREIGN))


@pytest.mark.conformance("V12")
@pytest.mark.parametrize(
    "group",
    ["224.0.0.1", "224.0.0.251", "224.0.0.255", "ff02::1"],
)
def test_groups_that_nobody_reports_always_flood(group: str) -> None:
    for version in (4, 6):
        site = site_with_router(version)
        assert site.link(P1, stream(A, group)) == Flood((P2, P3), (PEER, FOREIGN))


@pytest.mark.conformance("V12")
def test_the_two_versions_of_ip_are_asked_apart() -> None:
    site = site_with_router(4)
    assert site.link(P1, stream(A, GROUPS[6])) == Flood((P2, P3), (PEER, FOREIGN))


@pytest.mark.conformance("V12")
@BOTH
def test_broadcast_and_frames_that_are_not_ip_flood(version: int) -> None:
    site = site_with_router(version)
    flood = Flood((P2, P3), (PEER, FOREIGN))
    octets = bytearray(stream(A, GROUPS[version]))
    octets[12:14] = b"\x88\xb5"
    assert site.link(P1, bytes(octets)) == flood
    octets[:6] = b"\xff" * 6
    octets[12:14] = b"\x08\0" if version == 4 else b"\x86\xdd"
    assert site.link(P1, bytes(octets)) == flood


@BOTH
def test_a_report_is_heard_by_routers_and_other_hosts_and_by_no_listener(version: int) -> None:
    site = site_with_router(version)
    heard = report(version, B, GROUPS[version])
    assert site.link(P2, heard) == Flood((), (PEER, FOREIGN))
    assert site.underlay(FOREIGN, heard.replace(B, C)) == NOBODY
    site.link(P3, query(version, C))
    assert site.link(P2, heard) == Flood((P3,), (PEER, FOREIGN))
    assert site.underlay(FOREIGN, heard.replace(B, D)) == Flood((P3,), ())


@BOTH
def test_a_report_floods_where_no_router_is_known(version: int) -> None:
    site = Site()
    assert site.link(P1, report(version, A, GROUPS[version])) == site.everybody_but(P1)


@BOTH
def test_a_listener_not_heard_again_is_forgotten(version: int) -> None:
    site = site_with_router(version)
    group = GROUPS[version]
    site.link(P2, report(version, B, group))
    for _ in range(2):
        site.wait(125)
        site.underlay(PEER, query(version))
        assert site.link(P1, stream(A, group)) == Flood((P2,), (PEER,))
    site.wait(10)
    assert site.link(P1, stream(A, group)) == Flood((), (PEER,))


@BOTH
def test_who_leaves_is_left_out_unless_another_behind_the_port_still_listens(version: int) -> None:
    site = site_with_router(version)
    group = GROUPS[version]
    site.link(P2, report(version, B, group))
    site.link(P2, leave(version, B, group))
    site.underlay(PEER, query(version, group=group))
    assert site.link(P1, stream(A, group)) == Flood((P2,), (PEER,))
    site.link(P2, report(version, C, group))
    site.wait(2)
    assert site.link(P1, stream(A, group)) == Flood((P2,), (PEER,))
    site.link(P2, leave(version, C, group))
    site.wait(2)
    assert site.link(P1, stream(A, group)) == Flood((), (PEER,))


def test_leaving_what_one_never_joined_changes_nothing() -> None:
    site = site_with_router(4)
    site.link(P2, leave(4, B, GROUPS[4]))
    assert site.link(P1, stream(A, GROUPS[4])) == Flood((), (PEER,))


@BOTH
def test_a_port_or_peer_that_is_gone_listens_no_more(version: int) -> None:
    site = site_with_router(version)
    group = GROUPS[version]
    site.link(P2, report(version, B, group))
    site.underlay(FOREIGN, report(version, C, group))
    site.switch.remove_port(P2)
    assert site.link(P1, stream(A, group)) == Flood((), (PEER, FOREIGN))
    site.program(SetPeers(BLUE, (Peer(PEER),)))
    assert site.link(P1, stream(A, group)) == Flood((), (PEER,))
    site.program(SetPeers(BLUE, (Peer(FOREIGN),)))
    assert site.link(P1, stream(A, group)) == Flood((P3,), (FOREIGN,))  # the router is gone


@pytest.mark.conformance("V12")
@BOTH
def test_a_question_that_not_everybody_heard_does_not_leave_anybody_out(version: int) -> None:
    group = GROUPS[version]
    nobody = "0.0.0.0" if version == 4 else "::"
    to_one_group = bytearray(query(version))
    to_one_group[:6] = group_mac(ip(group))
    for asked in (
        query(version, group=group),
        query(version, sender=nobody),
        bytes(to_one_group),
        query(version)[:-1] + b"\xff",
    ):
        site = Site()
        assert site.underlay(PEER, asked) == Flood((P1, P2), ())
        site.wait(20)
        assert site.link(P1, stream(A, group)) == site.everybody_but(P1)


def test_a_network_may_flood_streams_regardless() -> None:
    site = site_with_router(4, snoop_multicast=False)
    assert site.link(P1, stream(A, GROUPS[4])) == Flood((P2, P3), (PEER, FOREIGN))


def test_who_listens_to_too_many_groups_gets_all() -> None:
    site = Site(Limits(groups_per_place_max=3))
    site.underlay(PEER, query(4))
    site.wait(5)
    groups = [f"239.1.2.{number}" for number in range(5)]
    site.link(P2, report(4, B, *groups[:3]))
    assert site.link(P1, stream(A, groups[4])) == Flood((), (PEER,))
    site.link(P2, report(4, B, *groups[:4]))
    assert site.link(P1, stream(A, groups[4])) == Flood((P2,), (PEER,))
    site.wait(240)
    site.underlay(PEER, query(4))
    site.wait(20)
    assert site.link(P1, stream(A, groups[4])) == Flood((), (PEER,))


def test_an_old_report_counts_too() -> None:
    site = site_with_router(4)
    site.link(P2, packet(B, GROUPS[4], IGMPv2_MR(gaddr=GROUPS[4])))
    assert site.link(P1, stream(A, GROUPS[4])) == Flood((P2,), (PEER,))
