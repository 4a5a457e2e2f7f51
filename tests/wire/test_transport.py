"""TCP and UDP headers against scapy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import TCP, UDP
from scapy.packet import Packet as Layer

from tests.helpers.frames import plain_frame
from vxnet.errors import WireError
from vxnet.wire import ip, transport
from vxnet.wire.transport import Tcp, TcpFlag, Udp

PORTS = st.integers(0, 0xFFFF)
NUMBERS = st.integers(0, 2**32 - 1)
VERSIONS = pytest.mark.parametrize("version", [4, 6])


def located(frame: bytes) -> ip.Packet:
    packet = ip.locate(frame)
    assert packet is not None
    return packet


@VERSIONS
@given(PORTS, PORTS, NUMBERS, NUMBERS, st.integers(0, 255), PORTS, st.booleans())
def test_a_tcp_header_reads_as_scapy_wrote_it(
    version: int,
    source: int,
    destination: int,
    sequence: int,
    acknowledgement: int,
    flags: int,
    window: int,
    optioned: bool,
) -> None:
    options = [("MSS", 1410), ("Timestamp", (1, 2)), ("NOP", None)] if optioned else []
    layer = TCP(
        sport=source,
        dport=destination,
        seq=sequence,
        ack=acknowledgement,
        flags=flags,
        window=window,
        options=options,
    )
    frame = plain_frame(version, layer, b"data")
    header = transport.tcp(frame, located(frame))
    size = 36 if optioned else 20
    assert header == Tcp(source, destination, sequence, acknowledgement, size, flags, window)


def test_tcp_flags_are_scapys() -> None:
    for flag, letter in zip(TcpFlag, "FSRPAUEC", strict=True):
        assert TCP(flags=letter).flags.value == flag


@VERSIONS
@given(PORTS, PORTS, st.binary(max_size=40))
def test_a_udp_header_reads_as_scapy_wrote_it(
    version: int, source: int, destination: int, payload: bytes
) -> None:
    frame = plain_frame(version, UDP(sport=source, dport=destination), payload)
    header = transport.udp(frame, located(frame))
    assert header == Udp(source, destination, 8 + len(payload))


@VERSIONS
@pytest.mark.parametrize(
    ("layer", "at", "value", "complaint"),
    [
        (TCP(), 12, 0x40, "says it has 16 octets"),
        (TCP(), 12, 0xF0, "says it has 60 octets"),
        (UDP(), 5, 7, "says it has 7 octets"),
        (UDP(), 5, 14, "says it has 14 octets"),
    ],
)
def test_a_header_that_contradicts_its_packet_is_refused(
    version: int, layer: Layer, at: int, value: int, complaint: str
) -> None:
    frame = bytearray(plain_frame(version, layer, b"12345"))
    packet = located(bytes(frame))
    frame[packet.transport + at] = value
    read = transport.tcp if isinstance(layer, TCP) else transport.udp
    with pytest.raises(WireError, match=complaint):
        read(frame, packet)


@VERSIONS
def test_a_packet_too_short_for_its_header_is_refused(version: int) -> None:
    frame = plain_frame(version, UDP())
    packet = located(frame)
    with pytest.raises(WireError, match="TCP segment of 8 octets"):
        transport.tcp(frame, packet)
    with pytest.raises(WireError, match="UDP datagram of 7 octets"):
        transport.udp(frame, packet._replace(end=packet.end - 1))
