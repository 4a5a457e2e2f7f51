"""The Ethernet header against scapy, tags included."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether

from vxnet.errors import WireError
from vxnet.wire import ethernet

MACS = st.binary(min_size=6, max_size=6)
UNTAGGED = st.integers(0, 0xFFFF).filter(lambda value: value not in ethernet.VLAN_ETHERTYPES)


@given(MACS, MACS, st.integers(0, 0xFFFF), st.binary(max_size=50))
def test_a_header_reads_as_scapy_reads_it(
    destination: bytes, source: bytes, ethertype: int, payload: bytes
) -> None:
    frame = ethernet.build(destination, source, ethertype) + payload
    assert ethernet.parse(frame) == (destination, source, ethertype)
    scapy = Ether(frame)
    assert (scapy.dst, scapy.src) == (destination.hex(":"), source.hex(":"))
    # Below 1536 the field is 802.3's length, and scapy calls it so.
    assert (scapy.type if ethertype > 1536 else frame[12] << 8 | frame[13]) == ethertype


@given(st.binary(max_size=13))
def test_a_frame_that_ends_within_its_header_is_refused_with_its_size(data: bytes) -> None:
    for read in (ethernet.parse, ethernet.payload):
        with pytest.raises(WireError, match=f"frame of {len(data)} octets"):
            read(data)


@given(st.lists(st.sampled_from([Dot1Q, Dot1AD]), max_size=4), UNTAGGED)
def test_the_payload_is_found_behind_up_to_four_tags(
    tags: list[type[Dot1Q]], ethertype: int
) -> None:
    frame = Ether()
    for tag in tags:
        frame /= tag(vlan=7)
    octets = bytearray(bytes(frame))
    octets[-2:] = ethertype.to_bytes(2, "big")
    assert ethernet.payload(octets) == (ethertype, 14 + 4 * len(tags))


def test_more_tags_than_four_are_refused() -> None:
    with pytest.raises(WireError, match="more than 4 VLAN tags"):
        ethernet.payload(bytes(12) + bytes.fromhex("81000001") * 5 + b"\x08\x00")


def test_a_frame_that_ends_within_its_tag_is_refused() -> None:
    with pytest.raises(WireError, match="at least 18 are needed"):
        ethernet.payload(bytes(12) + bytes.fromhex("810000010800")[:5])
