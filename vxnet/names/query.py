"""A DNS question as a client sends it (RFC 1035 §4.1): checked before any library sees it.

What a client may send is little: one question, no compression, no more than some hundred octets.
Whatever is more than that is dropped and counted, and nothing is sent back that could be aimed at
somebody else.
"""

from enum import StrEnum
from struct import Struct, error
from typing import Final, NamedTuple

from vxnet.errors import WireError

__all__ = ["QUERY_BYTES_MAX", "DnsError", "Fault", "Query", "parse"]

QUERY_BYTES_MAX: Final = 1_232
"""A name, a question and some options fit many times; DNS Flag Day 2020's size for datagrams."""

_HEADER = Struct("!HHHHHH")
_KIND = Struct("!HH")
_RESPONSE, _OPCODE, _TRUNCATED = 0x8000, 0x7800, 0x0200
_NAME_OCTETS_MAX = 255  # RFC 1035 §2.3.4
_ADDITIONAL_MAX = 2  # EDNS's OPT (RFC 6891), and a signature that is ignored


class Fault(StrEnum):
    """Why a packet of DNS was dropped. The text is the counter's name."""

    MALFORMED = "dns_malformed"
    COMPRESSED = "dns_compressed"  # a pointer in a question, where none can be (RFC 1035 §4.1.4)
    OVERSIZED = "dns_oversized"
    LOOPED = "dns_looped"  # an answer where questions are taken: our own, or a forgery
    SPOOFED = "dns_spoofed"  # from an address that is not the network's, or to no question of ours
    LIMITED = "dns_limited"  # one client asked too often


class DnsError(WireError):
    """A packet of DNS that is dropped."""

    def __init__(self, fault: Fault, text: str) -> None:
        super().__init__(text)
        self.fault = fault


class Query(NamedTuple):
    """What is asked. `labels` are in lower case; `end` is past the question in the packet."""

    id: int
    flags: int
    labels: tuple[str, ...]
    kind: int
    klass: int
    end: int

    @property
    def opcode(self) -> int:
        """0 is a question; all else is answered with "not implemented"."""
        return (self.flags & _OPCODE) >> 11

    @property
    def name(self) -> str:
        """As people write it, without the last dot."""
        return ".".join(self.labels)


def parse(packet: bytes) -> Query:
    """Read a question. Raises DnsError for what is no question a client may send."""
    if len(packet) > QUERY_BYTES_MAX:
        raise DnsError(
            Fault.OVERSIZED, f"a question of {len(packet)} octets, at most {QUERY_BYTES_MAX} are"
        )
    try:
        number, flags, questions, answers, authorities, additional = _HEADER.unpack_from(packet)
    except error:
        raise DnsError(Fault.MALFORMED, f"a packet of {len(packet)} octets") from None
    if flags & _RESPONSE:
        raise DnsError(Fault.LOOPED, "an answer, where only questions are taken")
    if (
        flags & _TRUNCATED
        or questions != 1
        or answers
        or authorities
        or additional > _ADDITIONAL_MAX
    ):
        raise DnsError(
            Fault.MALFORMED,
            f"{questions} questions with {answers}, {authorities} and {additional} records",
        )
    labels, at = _name(packet, _HEADER.size)
    try:
        kind, klass = _KIND.unpack_from(packet, at)
    except error:
        raise DnsError(Fault.MALFORMED, "a question that ends in its middle") from None
    return Query(number, flags, labels, kind, klass, at + _KIND.size)


def _name(packet: bytes, start: int) -> tuple[tuple[str, ...], int]:
    labels: list[str] = []
    at = start
    while True:
        if at >= len(packet) or at - start >= _NAME_OCTETS_MAX:
            raise DnsError(Fault.MALFORMED, "a name that does not end")
        size = packet[at]
        if size & 0xC0:
            raise DnsError(Fault.COMPRESSED, "a pointer, where no name came before")
        at += 1
        if size == 0:
            return tuple(labels), at
        if at + size > len(packet):
            raise DnsError(Fault.MALFORMED, "a label longer than its packet")
        # Any octet may be in a label; those that no name here has match none.
        labels.append(packet[at : at + size].decode("latin-1").lower())
        at += size
