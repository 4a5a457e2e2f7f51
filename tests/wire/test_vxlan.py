"""The VXLAN header against scapy and RFC 7348."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN

from vxnet.wire import vxlan
from vxnet.wire.addr import VNI_MAX, Vni
from vxnet.wire.vxlan import Fault, VxlanError

VNIS = st.integers(0, VNI_MAX).map(Vni)
INNER = bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02", type=0x88B5))


@pytest.mark.conformance("X1", "X5")
@given(VNIS)
def test_every_header_is_flags_vni_and_zeros(vni: Vni) -> None:
    header = vxlan.build(vni)
    assert header == b"\x08\0\0\0" + vni.to_bytes(3, "big") + b"\0"
    assert header == bytes(VXLAN(vni=vni, flags="Instance"))
    assert vxlan.parse(header + INNER) == (vni, False)


@pytest.mark.conformance("X1")
@given(VNIS, st.integers(0, 40))
def test_a_header_written_in_place_touches_nothing_else(vni: Vni, at: int) -> None:
    buffer = bytearray(b"\xaa" * 48)
    vxlan.write(buffer, at, vni)
    assert buffer == b"\xaa" * at + vxlan.build(vni) + b"\xaa" * (40 - at)


@pytest.mark.conformance("X2")
@given(VNIS, st.integers(0, 2**32 - 1), st.integers(0, 255))
def test_reserved_bits_are_told_of_and_change_nothing(vni: Vni, flags: int, tail: int) -> None:
    header = (flags | 1 << 27).to_bytes(4, "big") + vni.to_bytes(3, "big") + bytes([tail])
    reserved = bool(flags & ~(1 << 27) or tail)
    assert vxlan.parse(header + INNER) == (vni, reserved)


@pytest.mark.conformance("X3")
@given(VNIS, st.integers(0, 2**32 - 1))
def test_without_the_i_flag_it_is_no_vxlan(vni: Vni, flags: int) -> None:
    header = (flags & ~(1 << 27)).to_bytes(4, "big") + vni.to_bytes(3, "big") + b"\0"
    with pytest.raises(VxlanError, match="I flag is not set") as caught:
        vxlan.parse(header + INNER)
    assert caught.value.fault is Fault.NO_VNI_FLAG


@pytest.mark.conformance("X3")
@pytest.mark.parametrize("size", range(22))
def test_a_datagram_without_room_for_an_ethernet_header_is_short(size: int) -> None:
    with pytest.raises(VxlanError, match=f"datagram of {size} octets, at least 22") as caught:
        vxlan.parse((vxlan.build(Vni(7)) + INNER)[:size])
    assert caught.value.fault is Fault.SHORT


def test_a_header_is_read_where_it_is() -> None:
    assert vxlan.parse(b"\xff" * 5 + vxlan.build(Vni(9)) + INNER, 5) == (9, False)
