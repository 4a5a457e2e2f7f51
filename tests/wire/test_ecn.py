"""Congestion marks, by the table of RFC 6040, on every kind of frame."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from tests.helpers.frames import is_sound, plain_frame
from vxnet.wire.ecn import decapsulate, outer_tos

NOT_ECT, ECT1, ECT0, CE = range(4)


def tagged(frame: bytes) -> bytes:
    return frame[:12] + b"\x81\x00\x00\x05" + frame[12:]


@pytest.mark.conformance("E1", "E3")
@pytest.mark.parametrize("wrap", [bytes, tagged])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("mark", range(4))
def test_the_outer_class_can_be_the_inner_one(version: int, mark: int, wrap: type[bytes]) -> None:
    frame = wrap(plain_frame(version, UDP(), b"x", tos=0xB8 | mark))
    assert outer_tos(frame) == 0xB8 | mark


@pytest.mark.conformance("E2")
@pytest.mark.parametrize("wrap", [bytes, tagged])
@pytest.mark.parametrize("version", [4, 6])
def test_a_mark_brought_in_leaves_the_packet_sound(version: int, wrap: type[bytes]) -> None:
    frame = bytearray(wrap(plain_frame(version, UDP(), b"x", tos=0xB8 | ECT0)))
    assert decapsulate(frame, CE)
    packet = Ether(bytes(frame))
    assert (packet[IP].tos if version == 4 else packet[IPv6].tc) == 0xB8 | CE
    assert is_sound(packet)


@pytest.mark.conformance("E2")
def test_a_mark_that_cannot_be_brought_in_drops_the_frame() -> None:
    frame = bytearray(plain_frame(4, UDP(), b"x"))
    assert not decapsulate(frame, CE)


@given(frame=st.binary(max_size=80), tos=st.integers(0, 255))
def test_octets_of_any_kind_are_taken(frame: bytes, tos: int) -> None:
    assert outer_tos(frame) in range(4)
    changed = bytearray(frame)
    decapsulate(changed, tos)
    assert len(changed) == len(frame)


@given(payload=st.binary(max_size=60), tos=st.integers(0, 255))
def test_what_is_not_ip_is_never_changed(payload: bytes, tos: int) -> None:
    frame = bytes(12) + b"\x88\xb5" + payload
    assert outer_tos(frame) == 0
    changed = bytearray(frame)
    assert decapsulate(changed, tos)
    assert changed == frame
