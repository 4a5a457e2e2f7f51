"""Traffic classes across a tunnel: copied out (RFC 2983), marks brought back in (RFC 6040)."""

from struct import pack_into, unpack_from

from vxnet.errors import WireError
from vxnet.wire import ethernet
from vxnet.wire.checksum import update
from vxnet.wire.ethernet import Buffer, Ethertype

__all__ = ["MASK", "MAY_CHANGE", "decapsulate", "outer_tos"]

MASK = 0x03
"""Where the mark is in a type of service or traffic class (RFC 3168 §5)."""

_NOT_ECT, _ECT1, _ECT0, _CE = range(4)

MAY_CHANGE = frozenset({_ECT1, _CE})
"""The outer marks that may change an inner one."""

# RFC 6040 §4.2, figure 4: by the inner and the outer mark, the mark to pass on; None is a drop.
_PASSED_ON: dict[tuple[int, int], int | None] = {
    (_NOT_ECT, _NOT_ECT): _NOT_ECT,
    (_NOT_ECT, _ECT0): _NOT_ECT,
    (_NOT_ECT, _ECT1): _NOT_ECT,
    (_NOT_ECT, _CE): None,
    (_ECT0, _NOT_ECT): _ECT0,
    (_ECT0, _ECT0): _ECT0,
    (_ECT0, _ECT1): _ECT1,
    (_ECT0, _CE): _CE,
    (_ECT1, _NOT_ECT): _ECT1,
    (_ECT1, _ECT0): _ECT1,
    (_ECT1, _ECT1): _ECT1,
    (_ECT1, _CE): _CE,
    (_CE, _NOT_ECT): _CE,
    (_CE, _ECT0): _CE,
    (_CE, _ECT1): _CE,
    (_CE, _CE): _CE,
}

_IPV4, _IPV6 = int(Ethertype.IPV4), int(Ethertype.IPV6)
_AT = ethernet.HEADER_BYTES
_SHORTEST = _AT + 20


def outer_tos(frame: Buffer) -> int:
    """The class of the packet within, DSCP and mark, for the outer header; 0 for what is not IP."""
    if len(frame) < _SHORTEST:
        return 0
    if frame[12] == 0x08 and frame[13] == 0x00:
        return frame[_AT + 1]
    if frame[12] == 0x86 and frame[13] == 0xDD:
        return (frame[_AT] & 0x0F) << 4 | frame[_AT + 1] >> 4
    return _behind_tags(frame)


def _behind_tags(frame: Buffer) -> int:
    try:
        ethertype, at = ethernet.payload(frame)
    except WireError:
        return 0
    if at + 2 > len(frame):
        return 0
    if ethertype == _IPV4:
        return frame[at + 1]
    return (frame[at] & 0x0F) << 4 | frame[at + 1] >> 4 if ethertype == _IPV6 else 0


def decapsulate(frame: bytearray | memoryview, tos: int) -> bool:
    """Bring the outer mark in, in place. False where the frame has to be dropped instead.

    IPv4's header checksum is repaired; IPv6 has none that covers its traffic class.
    """
    outer = tos & MASK
    try:
        ethertype, at = ethernet.payload(frame)
    except WireError:
        return True  # nothing here to be marked
    if ethertype not in (_IPV4, _IPV6) or at + 20 > len(frame):
        return True
    (word,) = unpack_from("!H", frame, at)
    shift = 0 if ethertype == _IPV4 else 4
    inner = word >> shift & MASK
    passed_on = _PASSED_ON[inner, outer]
    if passed_on is None:
        return False
    if passed_on != inner:
        marked = word & ~(MASK << shift) | passed_on << shift
        pack_into("!H", frame, at, marked)
        if ethertype == _IPV4:
            (field,) = unpack_from("!H", frame, at + 10)
            pack_into("!H", frame, at + 10, update(field, word, marked))
    return True
