"""The MSS of a SYN, lowered to what fits, against scapy."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import TCP
from scapy.layers.l2 import Ether

from tests.helpers.frames import is_sound, plain_frame
from vxnet.wire.mss import clamp, may_be_syn

FIXED = {4: 40, 6: 60}


def asked(frame: bytes) -> dict[str, Any]:
    return dict(Ether(frame)[TCP].options)


def syn(version: int, options: list[tuple[str, Any]], flags: str = "S") -> bytes:
    return plain_frame(version, TCP(sport=1, dport=2, flags=flags, options=options))


@pytest.mark.conformance("M3")
@given(
    version=st.sampled_from([4, 6]),
    flags=st.sampled_from(["S", "SA", "SEC"]),
    nothings=st.integers(0, 5),
    mss=st.integers(0, 65_535),
    mtu=st.integers(576, 9_000),
)
def test_a_syn_asks_for_no_more_than_fits_and_stays_sound(
    version: int, flags: str, nothings: int, mss: int, mtu: int
) -> None:
    options = [("NOP", None)] * nothings + [("MSS", mss), ("WScale", 7)]
    frame = bytearray(syn(version, options, flags))
    assert may_be_syn(frame)
    clamp(frame, mtu, 65_536, is_open=False)
    assert asked(frame)["MSS"] == min(mss, mtu - FIXED[version])
    assert is_sound(Ether(bytes(frame)))


@pytest.mark.conformance("M3")
@pytest.mark.parametrize("version", [4, 6])
def test_the_path_counts_as_the_mtu_does(version: int) -> None:
    frame = bytearray(syn(version, [("MSS", 1_400)]))
    clamp(frame, 9_000, 14 + 1_200, is_open=False)
    assert asked(frame)["MSS"] == 1_200 - FIXED[version]


def test_behind_a_tag_it_is_found_too() -> None:
    plain = syn(4, [("MSS", 1_400)])
    frame = bytearray(plain[:12] + b"\x81\0\0\5" + plain[12:])
    assert may_be_syn(frame)
    clamp(frame, 9_000, 18 + 1_200, is_open=False)
    assert asked(frame)["MSS"] == 1_160


def test_a_checksum_that_is_yet_to_be_written_is_left_alone() -> None:
    frame = bytearray(syn(4, [("MSS", 1_400)]))
    frame[50:52] = b"\x12\x34"
    clamp(frame, 1_000, 65_536, is_open=True)
    assert asked(frame)["MSS"] == 960
    assert frame[50:52] == b"\x12\x34"


@pytest.mark.parametrize(
    "frame",
    [
        syn(4, [("MSS", 1_400)], "A"),
        syn(4, [("NOP", None), ("EOL", None)]),
        syn(4, []),
        syn(4, [("MSS", 1_400)])[:57],
    ],
)
def test_what_asks_for_nothing_is_left_alone(frame: bytes) -> None:
    got = bytearray(frame)
    clamp(got, 600, 65_536, is_open=False)
    assert got == frame


@given(st.binary(max_size=120), st.booleans())
def test_octets_of_any_kind_are_taken(data: bytes, is_v6: bool) -> None:
    frame = bytearray(bytes(12) + (b"\x86\xdd" if is_v6 else b"\x08\x00") + data)
    may_be_syn(frame)
    clamp(frame, 600, 65_536, is_open=False)
    assert len(frame) == 14 + len(data)
