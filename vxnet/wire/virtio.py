"""`struct virtio_net_hdr`: what the kernel says about a frame's checksum and size (TUN/TAP).

linux/virtio_net.h, in the host's byte order. On a TAP opened with IFF_VNET_HDR it precedes every
frame in both directions.
"""

from enum import IntEnum, IntFlag
from struct import Struct
from typing import NamedTuple

from vxnet.errors import WireError
from vxnet.wire.ethernet import Buffer

__all__ = ["ECN", "HEADER", "HEADER_BYTES", "PLAIN", "Flag", "Gso", "VnetHeader", "build", "parse"]

HEADER = Struct("=BBHHHH")
"""Flags, GSO type, header length, GSO size, checksum start, checksum offset."""

HEADER_BYTES = 10

PLAIN = bytes(HEADER_BYTES)
"""An ordinary frame whose checksums are all in place."""

ECN = 0x80
"""Set in the GSO type of TCP whose first segment alone carries CWR (VIRTIO_NET_HDR_GSO_ECN)."""


class Flag(IntFlag):
    """What is true of the frame's checksum."""

    NONE = 0
    NEEDS_CHECKSUM = 1  # it is yet to be written at checksum_start + checksum_offset
    DATA_VALID = 2  # it was verified already


class Gso(IntEnum):
    """How the frame is to be cut."""

    NONE = 0
    TCP4 = 1
    UDP_FRAGMENTS = 3  # UFO: cut into IP fragments; never asked for
    TCP6 = 4
    UDP = 5  # USO: cut into whole datagrams (VIRTIO_NET_HDR_GSO_UDP_L4)


_GSO_TYPES = frozenset(Gso)


class VnetHeader(NamedTuple):
    """The header's fields; offsets count from the frame's first octet, sizes are in octets."""

    flags: int = 0
    gso_type: int = Gso.NONE
    header_bytes: int = 0  # of everything before the payload; a hint, not to be trusted
    gso_size: int = 0  # payload octets of each frame it is cut into
    checksum_start: int = 0
    checksum_offset: int = 0


def parse(buffer: Buffer, offset: int = 0) -> VnetHeader:
    """Read the header at `offset`. Raises WireError when it is short or asks for the unknown."""
    if len(buffer) - offset < HEADER_BYTES:
        raise WireError(
            f"virtio_net_hdr of {max(0, len(buffer) - offset)} octets, {HEADER_BYTES} are needed"
        )
    header = VnetHeader._make(HEADER.unpack_from(buffer, offset))
    if header.gso_type & ~ECN not in _GSO_TYPES:
        raise WireError(f"virtio_net_hdr with the unknown GSO type {header.gso_type:#04x}")
    if header.gso_type and not header.gso_size:
        raise WireError(f"virtio_net_hdr with GSO type {header.gso_type:#04x} and a GSO size of 0")
    return header


def build(header: VnetHeader) -> bytes:
    """The ten octets."""
    return HEADER.pack(*header)
