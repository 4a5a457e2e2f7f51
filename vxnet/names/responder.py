"""What the resolver of a network answers, and what it leaves to the host's resolvers."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from struct import pack
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from vxnet.names.lookup import Asker, Finding, Kind, Lookup, reverse_of
from vxnet.names.query import DnsError, Fault, Query

__all__ = ["EDNS_BYTES_MAX", "TTL_S", "Answered", "Forwarded", "Responder", "refuse", "shorten"]

TTL_S: Final = 1
"""Names follow gossip, so nobody is to keep them for long."""

EDNS_BYTES_MAX: Final = 1_232
PLAIN_BYTES_MAX: Final = 512  # RFC 1035 §4.2.1: a datagram, where the client says nothing
STREAM_BYTES_MAX: Final = 65_535
KEPT_MAX: Final = 4_096
TURNS_MAX: Final = 64
RECORDS_MAX: Final = 512

IN = dns.rdataclass.IN


@dataclass(frozen=True, slots=True)
class Answered:
    """Send this back."""

    packet: bytes
    finding: Finding | None = None


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Ask the host's resolvers; the answer may have so many octets."""

    query: Query
    size_max: int


Outcome = Answered | Forwarded


class Responder:
    """Answers questions. What it made is kept while no name changes, since making is slow.

    `turn` is a number the caller raises with each question: it rotates what a name stands for.
    """

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._version = -1
        self._kept: OrderedDict[tuple[Asker, bytes, bool, int], Answered] = OrderedDict()
        self._widths: OrderedDict[tuple[Asker, bytes, bool], int] = OrderedDict()

    def answer(
        self, packet: bytes, query: Query, asker: Asker, *, version: int, turn: int, stream: bool
    ) -> Outcome:
        """What to do with a question. Raises DnsError where the library cannot read it.

        `version` is that of the names; another one makes all that was kept void.
        """
        if version != self._version:
            self._version = version
            self._kept.clear()
            self._widths.clear()
        same = (asker, packet[2:], stream)
        width = self._widths.get(same)
        if width is not None:
            kept = self._kept.get((*same, turn % width))
            if kept is not None:
                return Answered(packet[:2] + kept.packet[2:], kept.finding)
        made = self._make(packet, query, asker, turn, stream)
        if isinstance(made, Answered) and made.finding is not None:
            width = max(1, min(len(made.finding.addresses), TURNS_MAX))
            self._widths[same] = width
            self._kept[(*same, turn % width)] = made
            while len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
            while len(self._widths) > KEPT_MAX:
                self._widths.popitem(last=False)
        return made

    def _make(self, packet: bytes, query: Query, asker: Asker, turn: int, stream: bool) -> Outcome:
        message = _read(packet)
        size_max = _size_max(message, stream)
        if query.opcode != dns.opcode.QUERY:
            return Answered(_plain(message, dns.rcode.NOTIMP, size_max))
        if message.edns > 0:
            return Answered(_plain(message, dns.rcode.BADVERS, size_max))  # RFC 6891 §6.1.3
        if query.klass != IN:
            return Answered(_plain(message, dns.rcode.REFUSED, size_max))
        address = reverse_of(query.labels)
        if address is not None:
            finding = self._lookup.reverse(address, asker)
        else:
            finding = self._lookup.find(_without_service_labels(query), asker)
        if finding is None:
            return Forwarded(query, size_max)
        reply = _begin(message)
        if finding.kind is Kind.NOTHING:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        owner = message.question[0].name
        for rdata in _records(query, finding, turn):
            # One set a record keeps the order that was chosen.
            rrset = dns.rrset.RRset(owner, IN, rdata.rdtype)
            rrset.add(rdata, TTL_S)
            reply.answer.append(rrset)
        if not reply.answer:
            reply.authority.append(_authority(finding))
        return Answered(reply.to_wire(max_size=size_max, prefer_truncation=True), finding)


def refuse(packet: bytes, *, stream: bool) -> bytes:
    """The answer to a question that nobody could answer in time (SERVFAIL)."""
    message = _read(packet)
    return _plain(message, dns.rcode.SERVFAIL, _size_max(message, stream))


def shorten(packet: bytes, end: int, size_max: int) -> bytes:
    """An answer of others as a client can take it: one too long says so, and has no records."""
    if len(packet) <= size_max:
        return packet
    # The question ends at `end`, as in what was asked; TC says to come again by TCP.
    header = bytes([*packet[:2], packet[2] | 0x02, packet[3], 0, 1]) + bytes(6)
    return header + packet[12:end]


def _read(packet: bytes) -> dns.message.Message:
    try:
        return dns.message.from_wire(packet)
    except (dns.exception.DNSException, ValueError) as error:
        raise DnsError(Fault.MALFORMED, f"a question that cannot be read: {error}") from None


def _begin(message: dns.message.Message) -> dns.message.Message:
    reply = dns.message.make_response(message, recursion_available=True, our_payload=EDNS_BYTES_MAX)
    reply.flags |= dns.flags.AA
    return reply


def _plain(message: dns.message.Message, rcode: dns.rcode.Rcode, size_max: int) -> bytes:
    reply = _begin(message)
    reply.flags &= ~dns.flags.AA
    if rcode == dns.rcode.BADVERS:
        reply.use_edns(0, payload=EDNS_BYTES_MAX)
    reply.set_rcode(rcode)
    return reply.to_wire(max_size=size_max, prefer_truncation=True)


def _size_max(message: dns.message.Message, stream: bool) -> int:
    if stream:
        return STREAM_BYTES_MAX
    if message.edns < 0:
        return PLAIN_BYTES_MAX
    return max(PLAIN_BYTES_MAX, min(message.payload, EDNS_BYTES_MAX))


def _without_service_labels(query: Query) -> tuple[str, ...]:
    """A question for SRV may say the port and the protocol before the name (RFC 2782)."""
    labels = query.labels
    if query.kind == dns.rdatatype.SRV and len(labels) > 2 and labels[1] in ("_tcp", "_udp"):
        return labels[2:]
    return labels


def _records(query: Query, finding: Finding, turn: int) -> Iterator[dns.rdata.Rdata]:
    kind, is_reverse = query.kind, reverse_of(query.labels) is not None
    if is_reverse:
        if kind == dns.rdatatype.PTR and finding.kind is not Kind.NOTHING:
            yield _record(dns.rdatatype.PTR, _wire_name(finding.name, finding.scope.name))
        return
    match kind:
        case dns.rdatatype.A:
            yield from _addresses(finding, 4, turn)
        case dns.rdatatype.AAAA:
            yield from _addresses(finding, 16, turn)
        case dns.rdatatype.SRV:
            yield from _services(query, finding)
        case dns.rdatatype.TXT:
            ids = (f"endpoint={one.id.hex()[:12]}" for one in finding.named)
            for text in (finding.text or tuple(ids))[:RECORDS_MAX]:
                octets = text.encode()[:255]
                yield _record(dns.rdatatype.TXT, bytes([len(octets)]) + octets)


def _addresses(finding: Finding, size: int, turn: int) -> Iterator[dns.rdata.Rdata]:
    chosen = [ip for ip in finding.addresses if len(ip) == size][:RECORDS_MAX]
    start = turn % len(chosen) if chosen else 0
    kind = dns.rdatatype.A if size == 4 else dns.rdatatype.AAAA
    for ip in chosen[start:] + chosen[:start]:
        yield _record(kind, ip)


def _services(query: Query, finding: Finding) -> Iterator[dns.rdata.Rdata]:
    """A target for each port: the service's own name where it has an address, else its members'."""
    service = finding.service
    if service is None:
        return
    wanted = None
    if query.labels[1:2] in (("_tcp",), ("_udp",)):
        wanted = (query.labels[0].removeprefix("_"), query.labels[1].removeprefix("_"))
    one_for_all = finding.kind is Kind.SERVICE and service.vips
    targets = [service.name] if one_for_all else [one.row.name for one in finding.named]
    for number, protocol in service.ports:
        if wanted is not None and wanted != (str(number), protocol):
            continue
        for target in targets[:RECORDS_MAX]:
            name = _wire_name(target, finding.scope.name)
            yield _record(dns.rdatatype.SRV, pack("!HHH", 0, 1, number) + name)


def _authority(finding: Finding) -> dns.rrset.RRset:
    """Says for how long "there is none" is true (RFC 2308 §3)."""
    rrset = dns.rrset.RRset(_name(finding.scope.name), IN, dns.rdatatype.SOA)
    origin = _wire_name("resolver", finding.scope.name)
    times = pack("!IIIII", 1, 60, 60, 60, TTL_S)
    rrset.add(_record(dns.rdatatype.SOA, origin + origin + times), TTL_S)
    return rrset


def _record(kind: dns.rdatatype.RdataType, octets: bytes) -> dns.rdata.Rdata:
    return dns.rdata.from_wire(IN, kind, octets, 0, len(octets))


def _wire_name(*parts: str) -> bytes:
    wire = _name(*parts).to_wire()
    assert wire is not None
    return wire


def _name(*parts: str) -> dns.name.Name:
    """A name of parts that may have dots themselves; longer labels than DNS has are cut."""
    labels = [label[:63] for part in parts for label in part.encode().split(b".") if label]
    return dns.name.Name((*labels, b""))
