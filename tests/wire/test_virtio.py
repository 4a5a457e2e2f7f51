"""`struct virtio_net_hdr`, as linux/virtio_net.h lays it out."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vxnet.errors import WireError
from vxnet.wire import virtio
from vxnet.wire.virtio import ECN, Flag, Gso, VnetHeader

WORDS = st.integers(0, 0xFFFF)
HEADERS = st.builds(
    VnetHeader,
    st.integers(0, 255),
    st.sampled_from([*Gso, Gso.TCP4 | ECN, Gso.TCP6 | ECN]),
    WORDS,
    st.integers(1, 0xFFFF),
    WORDS,
    WORDS,
)


@given(HEADERS, st.binary(max_size=20))
def test_what_is_built_is_read_back_wherever_it_is(header: VnetHeader, before: bytes) -> None:
    assert virtio.parse(before + virtio.build(header), len(before)) == header


def test_fields_are_where_the_kernel_has_them() -> None:
    header = VnetHeader(Flag.NEEDS_CHECKSUM, Gso.TCP4, 54, 1410, 34, 16)
    words = b"".join(word.to_bytes(2, sys.byteorder) for word in (54, 1410, 34, 16))
    assert virtio.build(header) == b"\x01\x01" + words


def test_a_plain_header_is_ten_zeros() -> None:
    assert virtio.build(VnetHeader()) == virtio.PLAIN == bytes(10)


@pytest.mark.parametrize("size", range(10))
def test_a_header_cut_off_is_refused(size: int) -> None:
    with pytest.raises(WireError, match=f"of {size} octets, 10 are needed"):
        virtio.parse(bytes(size))


@pytest.mark.parametrize("gso_type", [2, 6, 0x7F, 0x82])
def test_an_unknown_way_of_cutting_is_refused(gso_type: int) -> None:
    with pytest.raises(WireError, match="unknown GSO type"):
        virtio.parse(virtio.build(VnetHeader(gso_type=gso_type, gso_size=1)))


def test_cutting_into_pieces_of_nothing_is_refused() -> None:
    with pytest.raises(WireError, match="GSO size of 0"):
        virtio.parse(virtio.build(VnetHeader(gso_type=Gso.TCP4)))
