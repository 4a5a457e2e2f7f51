"""Answers of the host's resolvers, for as long as they say (RFC 1035 §7.4, RFC 2308 §5)."""

from collections import OrderedDict
from struct import Struct, error
from typing import Final, NamedTuple

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype

from vxnet.names.query import DnsError, Fault

__all__ = ["AnswerCache"]

ANSWERS_MAX: Final = 4_096
OCTETS_MAX: Final = 4 << 20
TTL_MAX_S: Final = 3_600
NEGATIVE_TTL_MAX_S: Final = 60

_HEADER = Struct("!HHHHHH")
_RECORD = Struct("!HHIH")  # type, class, TTL, length
_OPT = 41  # RFC 6891: what stands in the TTL's place is something else


class _Kept(NamedTuple):
    packet: bytes
    ttls: tuple[tuple[int, int], ...]  # where each is in the packet, and what it was
    since: float
    until: float


class AnswerCache:
    """Bounded in number and in octets; what was asked for longest ago goes first."""

    def __init__(self, answers_max: int = ANSWERS_MAX, octets_max: int = OCTETS_MAX) -> None:
        self._answers_max = answers_max
        self._octets_max = octets_max
        self._octets = 0
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, question: bytes, now: float) -> bytes | None:
        """The answer to a question (a packet without its id), its TTLs as they are by now."""
        kept = self._kept.get(question)
        if kept is None:
            return None
        if now >= kept.until:
            self._drop(question)
            return None
        self._kept.move_to_end(question)
        packet = bytearray(kept.packet)
        gone = int(now - kept.since)
        for at, ttl in kept.ttls:
            packet[at : at + 4] = max(0, ttl - gone).to_bytes(4, "big")
        return bytes(packet)

    def put(self, question: bytes, packet: bytes, now: float) -> None:
        """Keep an answer, if it says that it may be. Raises DnsError for one that is damaged."""
        life_s = _life_s(packet)
        if life_s <= 0 or len(packet) > self._octets_max:
            return
        self._drop(question)
        self._kept[question] = _Kept(packet, tuple(_ttls(packet)), now, now + life_s)
        self._octets += len(packet)
        while len(self._kept) > self._answers_max or self._octets > self._octets_max:
            self._drop(next(iter(self._kept)))

    def clear(self) -> None:
        """The host's resolvers are others now."""
        self._kept.clear()
        self._octets = 0

    def _drop(self, question: bytes) -> None:
        kept = self._kept.pop(question, None)
        if kept is not None:
            self._octets -= len(kept.packet)


def _life_s(packet: bytes) -> int:
    """For how long an answer is true: 0 where it is not to be kept."""
    try:
        message = dns.message.from_wire(packet)
    except (dns.exception.DNSException, ValueError) as problem:
        raise DnsError(Fault.MALFORMED, f"an answer that cannot be read: {problem}") from None
    if message.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return 0
    if message.answer and message.rcode() == dns.rcode.NOERROR:
        return min(TTL_MAX_S, *(rrset.ttl for rrset in message.answer))
    for rrset in message.authority:
        if rrset.rdtype == dns.rdatatype.SOA and rrset:
            return min(NEGATIVE_TTL_MAX_S, rrset.ttl, int(rrset[0].minimum))
    return 0  # nobody says for how long there is nothing


def _ttls(packet: bytes) -> list[tuple[int, int]]:
    """Where the TTLs of a packet are that the library could read."""
    found = []
    try:
        _, _, questions, *records = _HEADER.unpack_from(packet)
        at = _HEADER.size
        for _ in range(questions):
            at = _past_name(packet, at) + 4
        for _ in range(sum(records)):
            at = _past_name(packet, at)
            kind, _, ttl, size = _RECORD.unpack_from(packet, at)
            if kind != _OPT:
                found.append((at + 4, ttl))
            at += _RECORD.size + size
    except (error, IndexError):
        raise DnsError(Fault.MALFORMED, "an answer that ends in its middle") from None
    return found


def _past_name(packet: bytes, at: int) -> int:
    while True:
        size = packet[at]
        if size & 0xC0:
            return at + 2  # a pointer ends a name (RFC 1035 §4.1.4)
        at += 1 + size
        if size == 0:
            return at
