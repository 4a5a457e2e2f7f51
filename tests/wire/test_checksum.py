"""The Internet checksum, judged by the plainest reading of RFC 1071."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vxnet.errors import WireError
from vxnet.wire import checksum
from vxnet.wire.sums import row_sums


def by_the_rfc(octets: bytes) -> int:
    """RFC 1071 §4.1, word by word."""
    value = 0
    for at in range(0, len(octets) - 1, 2):
        value += octets[at] << 8 | octets[at + 1]
    if len(octets) % 2:
        value += octets[-1] << 8
    while value >> 16:
        value = (value & 0xFFFF) + (value >> 16)
    return value ^ 0xFFFF


octets = st.one_of(
    st.binary(min_size=1, max_size=200),
    st.integers(1, 70_000).map(lambda size: np.random.default_rng(size).bytes(size)),
    st.integers(2, 9_000).map(lambda size: b"\xff" * size),
)


@settings(deadline=None)
@given(octets=octets)
def test_a_checksum_is_what_the_rfc_says(octets: bytes) -> None:
    expected = by_the_rfc(octets)
    if not any(octets):
        expected = 0  # 0 and 0xFFFF are the same sum; nothing real is all zeros
    assert checksum.checksum(octets) == expected


@settings(deadline=None)
@given(octets=octets.filter(lambda o: len(o) >= 4))
def test_what_carries_its_checksum_is_valid_and_one_changed_bit_shows(octets: bytes) -> None:
    whole = bytearray(octets)
    whole[2:4] = b"\0\0"
    whole[2:4] = checksum.checksum(whole).to_bytes(2, "big")
    assert checksum.is_valid(whole)
    whole[-1] ^= 1
    assert not checksum.is_valid(whole)


@settings(deadline=None)
@given(width=st.integers(2, 1_501), count=st.integers(1, 40), spare=st.integers(0, 5))
def test_row_sums_agree_with_sums_of_single_rows(width: int, count: int, spare: int) -> None:
    data = np.random.default_rng(width).integers(0, 256, (count, width + spare), np.uint8)
    rows = data[:, :width]
    sums = row_sums(rows) % checksum.MODULUS
    assert list(sums) == [checksum.little_endian_sum(row.tobytes()) for row in rows]


@given(data=st.binary(min_size=12, max_size=12), word=st.integers(0, 5), new=st.integers(0, 0xFFFF))
def test_a_checksum_is_repaired_without_reading_all_again(data: bytes, word: int, new: int) -> None:
    packet = bytearray(data + b"\0\1")
    before = checksum.checksum(packet)
    old = int.from_bytes(packet[2 * word : 2 * word + 2], "big")
    packet[2 * word : 2 * word + 2] = new.to_bytes(2, "big")
    assert checksum.update(before, old, new) % 0xFFFF == checksum.checksum(packet) % 0xFFFF


def test_a_checksum_left_to_us_is_completed_and_never_reads_as_none() -> None:
    frame = bytearray(20)
    frame[10:12] = b"\xff\xff"  # the pseudo-header's sum
    checksum.complete(frame, 10, 6)
    assert frame[16:18] == b"\x00\x00" or frame[16:18] == b"\xff\xff"
    assert frame[16:18] != b"\x00\x00"


def test_a_checksum_asked_for_outside_the_frame_is_refused() -> None:
    with pytest.raises(WireError, match="octet 39 of a frame of 40"):
        checksum.complete(bytearray(40), 33, 6)
