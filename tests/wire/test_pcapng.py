"""pcapng as scapy reads it, block by block."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.utils import RawPcapNgReader

from vxnet.wire import pcapng
from vxnet.wire.pcapng import Direction


def read(data: bytes) -> list[tuple[bytes, RawPcapNgReader.PacketMetadata]]:
    """The packets of a file."""
    return list(RawPcapNgReader(io.BytesIO(data)))


@given(
    octets=st.binary(max_size=200),
    comment=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=50),
    at_ns=st.integers(0, 2**63),
    missed=st.integers(0, 2**40),
    direction=st.sampled_from(Direction),
)
def test_what_is_written_is_what_is_read(
    octets: bytes, comment: str, at_ns: int, missed: int, direction: Direction
) -> None:
    data = pcapng.section("a test") + pcapng.interface("h1", "a host", 1_000)
    data += pcapng.packet(
        0, at_ns, octets, 1_000, comment=comment, direction=direction, missed=missed
    )
    [(read_octets, about)] = read(data)
    assert read_octets == octets
    assert (about.tshigh << 32 | about.tslow) == at_ns
    assert (about.wirelen, about.tsresol, about.ifname) == (1_000, 1_000_000_000, b"h1")
    assert about.direction == direction
    assert (about.comments or [b""])[0].decode() == comment


@pytest.mark.parametrize("length", range(9))
def test_every_block_ends_on_four_octets(length: int) -> None:
    for block in (
        pcapng.section("x" * length),
        pcapng.interface("x" * length, "y", 1),
        pcapng.packet(0, 1, bytes(length), length, comment="x" * length),
    ):
        assert len(block) % 4 == 0
        assert block[4:8] == block[-4:] == len(block).to_bytes(4, "little")
