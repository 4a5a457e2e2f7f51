"""Echo requests as scapy reads them."""

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether

from vxnet.demo.capture import checksums_ok
from vxnet.wire import echo
from vxnet.wire.addr import parse_ip, parse_mac

ONE, OTHER = parse_mac("02:00:00:00:00:01"), parse_mac("02:00:00:00:00:02")


@pytest.mark.parametrize("payload", [b"", b"odd", bytes(range(32))])
@pytest.mark.parametrize(
    ("source", "target"), [("10.9.0.1", "10.9.0.2"), ("fd00:9::1", "fd00:9::2")]
)
def test_it_is_whole_and_its_checksums_are_right(source: str, target: str, payload: bytes) -> None:
    frame = Ether(echo.request(ONE, OTHER, parse_ip(source), parse_ip(target), payload, 77))
    assert (frame.src, frame.dst) == ("02:00:00:00:00:01", "02:00:00:00:00:02")
    packet = frame[IP] if IP in frame else frame[IPv6]
    assert (packet.src, packet.dst) == (source, target)
    message = frame[ICMP] if ICMP in frame else frame[ICMPv6EchoRequest]
    assert (message.type, message.id) == (8 if IP in frame else 128, 77)
    assert bytes(frame).endswith(payload)
    assert checksums_ok(frame)
