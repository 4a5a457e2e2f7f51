"""The VXLAN header (RFC 7348 §5): eight octets between UDP and the inner Ethernet header."""

from enum import StrEnum
from struct import Struct

from vxnet.errors import WireError
from vxnet.wire.addr import Vni
from vxnet.wire.ethernet import HEADER_BYTES as ETHERNET_BYTES
from vxnet.wire.ethernet import Buffer

__all__ = ["HEADER_BYTES", "PORT", "Fault", "VxlanError", "build", "parse", "write"]

PORT = 4789
"""IANA's UDP port for VXLAN."""

HEADER_BYTES = 8

_HEADER = Struct("!II")
_I_FLAG = 0x0800_0000
_RESERVED_HIGH = 0xF7FF_FFFF
_RESERVED_LOW = 0x0000_00FF


class Fault(StrEnum):
    """What is wrong with a datagram; the text is also the drop reason's."""

    SHORT = "vxlan_short"
    NO_VNI_FLAG = "vxlan_no_vni_flag"


class VxlanError(WireError):
    """A datagram that is no VXLAN; `fault` says which counter it belongs to."""

    def __init__(self, fault: Fault, text: str) -> None:
        super().__init__(text)
        self.fault = fault


def build(vni: Vni) -> bytes:
    """The header of a network: `08 00 00 00 VV VV VV 00`."""
    return _HEADER.pack(_I_FLAG, vni << 8)


def write(buffer: bytearray | memoryview, offset: int, vni: Vni) -> None:
    """Put the header in place, right before a frame that is already there."""
    _HEADER.pack_into(buffer, offset, _I_FLAG, vni << 8)


def parse(datagram: Buffer, offset: int = 0) -> tuple[Vni, bool]:
    """The VNI, and whether any reserved bit was set. The inner frame starts 8 octets on.

    Raises VxlanError for fewer than 8 + 14 octets and for a header without the I flag.
    """
    # RFC 7348 §5: reserved bits are ignored on receipt, so only the I flag counts.
    if len(datagram) - offset < HEADER_BYTES + ETHERNET_BYTES:
        raise VxlanError(
            Fault.SHORT,
            f"VXLAN datagram of {max(0, len(datagram) - offset)} octets, "
            f"at least {HEADER_BYTES + ETHERNET_BYTES} are needed",
        )
    flags, tail = _HEADER.unpack_from(datagram, offset)
    if not flags & _I_FLAG:
        raise VxlanError(
            Fault.NO_VNI_FLAG, f"VXLAN header with flags {flags >> 24:#04x}: the I flag is not set"
        )
    return tail >> 8, bool(flags & _RESERVED_HIGH or tail & _RESERVED_LOW)
