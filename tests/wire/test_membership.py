"""IGMP and MLD against scapy, RFC 3376 and RFC 3810."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.igmp import (
    IGMP_MQ,
    IGMP_MR,
    IGMPv2_LG,
    IGMPv2_MR,
    IGMPv3_MQ,
    IGMPv3_MR,
    IGMPv3_MR_Group,
)
from scapy.layers.inet import ICMP, IP, UDP, IPOption_Router_Alert
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLDMultAddrRec,
    ICMPv6MLDone,
    ICMPv6MLQuery,
    ICMPv6MLQuery2,
    ICMPv6MLReport,
    ICMPv6MLReport2,
    IPv6,
    IPv6ExtHdrHopByHop,
    RouterAlert,
    getmacbyip6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet as Layer
from scapy.packet import Raw

from vxnet.errors import WireError
from vxnet.wire import ip, membership
from vxnet.wire.addr import Ip, format_ip, parse_ip
from vxnet.wire.membership import Listening, MembershipMessage, Query, Report

V4 = Ether() / IP(
    src="10.9.0.1", dst="239.1.2.3", ttl=1, proto=2, options=[IPOption_Router_Alert()]
)
V6 = (
    Ether()
    / IPv6(src="fe80::1", dst="ff02::16", hlim=1)
    / IPv6ExtHdrHopByHop(options=[RouterAlert()])
)
G4, G6 = parse_ip("239.1.2.3"), parse_ip("ff05::1:3")
SOURCES4, SOURCES6 = ["10.9.0.7", "10.9.0.8"], ["fd09::7", "fd09::8"]


def read(frame: Layer) -> MembershipMessage | None:
    octets = bytes(frame)
    packet = ip.locate(octets)
    assert packet is not None
    return membership.parse(memoryview(octets), packet)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (IGMP_MQ(mrcode=100), Query(parse_ip("10.9.0.1"), None, 10.0)),
        (IGMP_MQ(mrcode=0), Query(parse_ip("10.9.0.1"), None, 10.0)),
        (IGMP_MQ(mrcode=5, gaddr="239.1.2.3"), Query(parse_ip("10.9.0.1"), G4, 0.5)),
        (IGMPv3_MQ(mrcode=20), Query(parse_ip("10.9.0.1"), None, 2.0)),
        (
            IGMPv3_MQ(mrcode=208, gaddr="239.1.2.3", srcaddrs=SOURCES4),
            Query(parse_ip("10.9.0.1"), G4, 20.8),
        ),
        (IGMP_MR(gaddr="239.1.2.3"), Report((Listening(G4, True),))),
        (IGMPv2_MR(gaddr="239.1.2.3"), Report((Listening(G4, True),))),
        (IGMPv2_LG(gaddr="239.1.2.3"), Report((Listening(G4, False),))),
        (Raw(bytes.fromhex("770088ff00000000")), None),
    ],
)
def test_igmp_reads_as_the_rfcs_have_it(frame: Layer, message: MembershipMessage | None) -> None:
    assert read(V4 / frame) == message


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (ICMPv6MLQuery(mrd=10_000), Query(parse_ip("fe80::1"), None, 10.0)),
        (ICMPv6MLQuery(mrd=1_000, mladdr="ff05::1:3"), Query(parse_ip("fe80::1"), G6, 1.0)),
        (ICMPv6MLQuery2(mrd=0x8001), Query(parse_ip("fe80::1"), None, 32.776)),
        (ICMPv6MLReport(mladdr="ff05::1:3"), Report((Listening(G6, True),))),
        (ICMPv6MLDone(mladdr="ff05::1:3"), Report((Listening(G6, False),))),
        (ICMPv6EchoRequest(), None),
    ],
)
def test_mld_reads_as_the_rfcs_have_it(frame: Layer, message: MembershipMessage | None) -> None:
    assert read(V6 / frame) == message


@pytest.mark.parametrize(
    ("kind", "has_sources", "listens"),
    [
        (1, True, True),  # include these
        (1, False, None),
        (2, False, True),  # exclude none
        (2, True, True),
        (3, True, True),
        (3, False, False),  # include nothing from now on: left
        (4, False, True),
        (5, True, True),
        (6, True, None),
        (7, False, None),  # not assigned
    ],
)
def test_records_say_who_listens(kind: int, has_sources: bool, listens: bool | None) -> None:
    v4, v6 = (SOURCES4, SOURCES6) if has_sources else ([], [])
    records4 = [IGMPv3_MR_Group(rtype=kind, maddr="239.1.2.3", srcaddrs=v4)]
    records6 = [ICMPv6MLDMultAddrRec(rtype=kind, dst="ff05::1:3", sources=v6)]
    for frame, group in (
        (V4 / IGMPv3_MR(records=records4), G4),
        (V6 / ICMPv6MLReport2(records=records6), G6),
    ):
        expected = () if listens is None else (Listening(group, listens),)
        assert read(frame) == Report(expected)


@given(
    st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 3), st.integers(0, 2)), max_size=8)
)
def test_reports_with_many_records_and_auxiliary_data_are_read_to_their_end(
    records: list[tuple[int, int, int]],
) -> None:
    v6 = [
        ICMPv6MLDMultAddrRec(
            rtype=4,
            dst=f"ff05::{group:x}",
            sources=SOURCES6[:sources],
            auxdata_len=words,  # RFC 3810 §5.2.6 counts words; scapy would count octets
            auxdata=bytes(4 * words),
        )
        for group, words, sources in records
    ]
    wanted = tuple(Listening(parse_ip(f"ff05::{group:x}"), True) for group, _, _ in records)
    assert read(V6 / ICMPv6MLReport2(records=v6)) == Report(wanted)
    v4 = [
        IGMPv3_MR_Group(
            rtype=4, maddr=f"239.1.{group >> 8}.{group & 255}", srcaddrs=SOURCES4[:sources]
        )
        for group, _, sources in records
    ]
    report = read(V4 / IGMPv3_MR(records=v4))
    assert isinstance(report, Report)
    assert [format_ip(each.group) for each in report.listening] == [each.maddr for each in v4]


@pytest.mark.parametrize(
    ("frame", "complaint"),
    [
        (V4 / IGMPv2_MR(gaddr="239.1.2.3", chksum=1), "wrong checksum"),
        (V6 / ICMPv6MLReport(mladdr="ff05::1:3", cksum=1), "wrong checksum"),
        (V4 / IGMPv2_MR(gaddr="10.9.0.1"), "membership of 10.9.0.1, which is no group"),
        (V6 / ICMPv6MLReport(mladdr="fd09::1"), "membership of fd09::1, which is no group"),
        (Ether() / IPv6(hlim=2) / ICMPv6MLReport(mladdr="ff05::1:3"), "hop limit 2"),
        (Ether() / IP(proto=2) / Raw(bytes(7)), "IGMP message of 7 octets"),
        (Ether() / IPv6(nh=58, hlim=1) / Raw(b"\x83" + bytes(22)), "of 23 octets, at least 24"),
        (Ether() / IPv6(nh=58, hlim=1) / Raw(b"\x8f" + bytes(6)), "of 7 octets, at least 8"),
        (V6 / ICMPv6MLReport2(records_number=1, records=[]), "before the last of 1 records"),
        (
            V6
            / ICMPv6MLReport2(
                records=[ICMPv6MLDMultAddrRec(rtype=4, dst="ff05::1", sources_number=2)]
            ),
            "ends 32 octets past its report",
        ),
        (
            V6 / ICMPv6MLReport2(records=[ICMPv6MLDMultAddrRec(dst="ff05::1", auxdata_len=255)]),
            "ends 1020 octets past its report",
        ),
    ],
)
def test_what_receivers_are_to_discard_is_refused(frame: Layer, complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        read(frame)


@pytest.mark.parametrize("layer", [UDP(), ICMP()])
def test_other_packets_to_a_group_are_none(layer: Layer) -> None:
    assert read(Ether() / IP(dst="239.1.2.3") / layer) is None


def test_fragments_are_not_read() -> None:
    assert read(Ether() / IP(proto=2, flags="MF") / IGMPv2_MR()) is None


@given(st.binary(min_size=13, max_size=13))
def test_an_ipv6_group_has_the_mac_scapy_gives_it(rest: bytes) -> None:
    group = Ip(b"\xff\x05\0" + rest)
    assert membership.group_mac(group).hex(":") == getmacbyip6(format_ip(group))


@pytest.mark.parametrize(
    ("group", "mac"),
    [
        ("224.0.0.1", "01:00:5e:00:00:01"),
        ("239.129.2.3", "01:00:5e:01:02:03"),
        ("239.1.2.3", "01:00:5e:01:02:03"),
        ("224.255.255.255", "01:00:5e:7f:ff:ff"),
    ],
)
def test_an_ipv4_group_has_the_mac_rfc_1112_gives_it(group: str, mac: str) -> None:
    assert membership.group_mac(parse_ip(group)).hex(":") == mac
