"""Questions that are dropped before any library sees them."""

import dns.message
import pytest

from vxnet.names.query import QUERY_BYTES_MAX, DnsError, Fault, parse

GOOD = dns.message.make_query("Web.Blue", "AAAA", use_edns=0, payload=1232, id=0x1234).to_wire()


def test_a_question_is_read() -> None:
    query = parse(GOOD)
    assert (query.name, query.kind, query.klass, query.opcode) == ("web.blue", 28, 1, 0)
    assert GOOD[query.end - 4 : query.end] == b"\0\x1c\0\1"


HEADER = bytes.fromhex("1234 0100 0001 0000 0000 0000")


@pytest.mark.parametrize(
    ("packet", "fault"),
    [
        (b"", Fault.MALFORMED),
        (GOOD[:11], Fault.MALFORMED),
        (GOOD[:20], Fault.MALFORMED),
        (HEADER + b"\x3fabc", Fault.MALFORMED),
        (HEADER + b"\x01a" * 200 + b"\0\0\1\0\1", Fault.MALFORMED),
        (HEADER[:4] + b"\0\2" + HEADER[6:] + GOOD[12:], Fault.MALFORMED),
        (HEADER[:6] + b"\0\1" + HEADER[8:] + GOOD[12:], Fault.MALFORMED),
        (HEADER + b"\xc0\x0c\0\1\0\1", Fault.COMPRESSED),  # points at itself
        (HEADER + b"\3web\xc0\x0c\0\1\0\1", Fault.COMPRESSED),
        (HEADER + b"\x40\0\0\1\0\1", Fault.COMPRESSED),
        (HEADER[:2] + b"\x81\x80" + HEADER[4:] + GOOD[12:], Fault.LOOPED),
        (GOOD + bytes(QUERY_BYTES_MAX), Fault.OVERSIZED),
    ],
)
def test_what_no_client_sends_is_dropped_under_its_name(packet: bytes, fault: Fault) -> None:
    with pytest.raises(DnsError) as caught:
        parse(packet)
    assert caught.value.fault is fault
