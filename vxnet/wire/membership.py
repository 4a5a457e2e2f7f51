"""Who listens to which group, and who asks: IGMPv1-v3 (RFC 2236, RFC 3376), MLDv1-v2 (RFC 3810)."""

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from vxnet.errors import WireError
from vxnet.wire import ip
from vxnet.wire.addr import Ip, Mac, format_ip
from vxnet.wire.checksum import is_valid, total
from vxnet.wire.ethernet import Buffer
from vxnet.wire.ip import Packet, Protocol

__all__ = ["Listening", "MembershipMessage", "Query", "Report", "group_mac", "parse"]

_IGMP_QUERY, _IGMP_V1_REPORT, _IGMP_V2_REPORT, _IGMP_LEAVE, _IGMP_V3_REPORT = (
    0x11,
    0x12,
    0x16,
    0x17,
    0x22,
)
_MLD_QUERY, _MLD_REPORT, _MLD_DONE, _MLD_V2_REPORT = 130, 131, 132, 143
_MLD_TYPES = frozenset({_MLD_QUERY, _MLD_REPORT, _MLD_DONE, _MLD_V2_REPORT})

# What begins a message, up to its group: type, code, checksum, and for MLD two words more.
_IGMP = Struct("!BBH4s")
_MLD = Struct("!BBHHH16s")
# Type, three octets that say nothing here, reserved, the number of records.
_REPORT = Struct("!BxHHH")
# What is done, auxiliary words, sources; the group follows.
_RECORD = Struct("!BBH")

# RFC 3376 §4.2.12, RFC 3810 §5.2.12: what a record says of its sources.
_IS_INCLUDE, _IS_EXCLUDE, _TO_INCLUDE, _TO_EXCLUDE, _ALLOW, _BLOCK = range(1, 7)
_LISTENS = {_IS_EXCLUDE, _TO_EXCLUDE}
_LISTENS_TO_SOURCES = {_IS_INCLUDE, _TO_INCLUDE, _ALLOW}


class Listening(NamedTuple):
    """Whether the sender listens to a group; of which sources is not told apart."""

    group: Ip
    listens: bool


class Report(NamedTuple):
    """What the sender listens to now, or no longer."""

    listening: tuple[Listening, ...]


class Query(NamedTuple):
    """A router asks who listens: to `group`, or to any. Answers come within `response_s`."""

    source: Ip
    group: Ip | None
    response_s: float


MembershipMessage = Query | Report


def parse(frame: Buffer, packet: Packet) -> MembershipMessage | None:
    """The membership message of a packet; None where it carries something else.

    Raises WireError for one that receivers are to discard: cut off, a wrong checksum, a group that
    is none, MLD that came from another link.
    """
    if packet.is_fragment:
        return None
    if packet.version == 4:
        return _parse_igmp(frame, packet) if packet.protocol == Protocol.IGMP else None
    if packet.protocol != Protocol.ICMPV6 or packet.transport >= packet.end:
        return None
    return _parse_mld(frame, packet) if frame[packet.transport] in _MLD_TYPES else None


def _parse_igmp(frame: Buffer, packet: Packet) -> MembershipMessage | None:
    message = frame[packet.transport : packet.end]
    if len(message) < _IGMP.size:
        raise WireError(f"IGMP message of {len(message)} octets, at least 8 are needed")
    if not is_valid(message):
        raise WireError("IGMP message with a wrong checksum")
    kind, code, _, group = _IGMP.unpack_from(message)
    if kind == _IGMP_QUERY:
        # RFC 2236 §4: version 1 leaves the code 0, and means ten seconds.
        tenths = (_spread(code, 8) if len(message) >= 12 else code) or 100
        source, _ = ip.addresses(frame, packet)
        return Query(source, _asked(group), tenths / 10)
    if kind == _IGMP_V3_REPORT:
        return Report(tuple(_records(message, 4)))
    if kind in (_IGMP_V1_REPORT, _IGMP_V2_REPORT, _IGMP_LEAVE):
        return Report((Listening(_group(group), kind != _IGMP_LEAVE),))
    return None


def _parse_mld(frame: Buffer, packet: Packet) -> MembershipMessage:
    message = frame[packet.transport : packet.end]
    kind = message[0]
    needed = _REPORT.size if kind == _MLD_V2_REPORT else _MLD.size
    if len(message) < needed:
        raise WireError(f"MLD message of {len(message)} octets, at least {needed} are needed")
    source, destination = ip.addresses(frame, packet)
    if (hops := ip.hop_limit(frame, packet)) != 1:
        raise WireError(f"MLD message with hop limit {hops}; only 1 is local")  # RFC 3810 §5
    pseudo = ip.pseudo_header(source, destination, Protocol.ICMPV6, len(message))
    if not is_valid(message, total(pseudo)):
        raise WireError("MLD message with a wrong checksum")
    if kind == _MLD_V2_REPORT:
        return Report(tuple(_records(message, 16)))
    _, _, _, code, _, group = _MLD.unpack_from(message)
    if kind == _MLD_QUERY:
        milliseconds = _spread(code, 16) if len(message) >= 28 else code
        return Query(source, _asked(group), milliseconds / 1000)
    return Report((Listening(_group(group), kind != _MLD_DONE),))


def _records(message: Buffer, group_bytes: int) -> Iterator[Listening]:
    """The records of an IGMPv3 or MLDv2 report."""
    (*_, count) = _REPORT.unpack_from(message)
    at = _REPORT.size
    for _ in range(count):
        if at + _RECORD.size + group_bytes > len(message):
            raise WireError(f"membership report that ends before the last of {count} records")
        done, auxiliary, sources = _RECORD.unpack_from(message, at)
        at += _RECORD.size
        group = _group(bytes(message[at : at + group_bytes]))
        at += group_bytes * (1 + sources) + auxiliary * 4
        if at > len(message):
            raise WireError(
                f"membership record that ends {at - len(message)} octets past its report"
            )
        if done in _LISTENS or (done in _LISTENS_TO_SOURCES and sources):
            yield Listening(group, True)
        elif done == _TO_INCLUDE:  # of no sources: left
            yield Listening(group, False)


def _spread(code: int, bits: int) -> int:
    """A response time: as it is, or with a small exponent (RFC 3376 §4.1.1, RFC 3810 §5.1.3)."""
    if code < 1 << (bits - 1):
        return code
    mantissa_bits = bits - 4
    mantissa, exponent = code & ((1 << mantissa_bits) - 1), code >> mantissa_bits & 7
    return (mantissa | 1 << mantissa_bits) << (exponent + 3)


def _asked(group: bytes) -> Ip | None:
    return _group(group) if any(group) else None


def _group(address: bytes) -> Ip:
    if (address[0] & 0xF0 != 0xE0) if len(address) == 4 else (address[0] != 0xFF):
        raise WireError(f"membership of {format_ip(address)}, which is no group")
    return Ip(address)


def group_mac(group: Ip) -> Mac:
    """Where frames to a group go (RFC 1112 §6.4, RFC 2464 §7); IPv4's share them by 32."""
    if len(group) == 4:
        return Mac(bytes((0x01, 0x00, 0x5E, group[1] & 0x7F, group[2], group[3])))
    return Mac(b"\x33\x33" + group[12:])
