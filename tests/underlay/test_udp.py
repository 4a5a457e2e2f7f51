"""Bursts over real sockets of this machine, and what is done where the kernel refuses them."""

import socket
import struct
from collections.abc import Iterator

import pytest

from vxnet.errors import HostError
from vxnet.switch.actions import DropReason
from vxnet.underlay.base import Burst, Refusal
from vxnet.underlay.udp import UdpUnderlay
from vxnet.wire.addr import Vtep, parse_ip

HERE = parse_ip("127.0.0.1")
_SO_NO_CHECK = 11


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def underlay() -> Iterator[UdpUnderlay]:
    opened = UdpUnderlay(Vtep(HERE, free_port()))
    opened.open()
    yield opened
    opened.close()


@pytest.fixture
def far() -> Iterator[tuple[socket.socket, Vtep]]:
    """A peer that gets datagrams one by one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        opened.settimeout(20)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_388_608)
        yield opened, Vtep(HERE, opened.getsockname()[1])


def spread(sizes: list[int]) -> list[memoryview]:
    """Datagrams, each of one octet repeated."""
    return [memoryview(bytes([n % 256]) * size) for n, size in enumerate(sizes)]


Far = tuple[socket.socket, Vtep]


def test_a_burst_of_one_part_arrives_as_its_datagrams(underlay: UdpUnderlay, far: Far) -> None:
    peer, to = far
    sizes = [1_400] * 100 + [7]
    sent = spread(sizes)
    assert underlay.send(to, 5, 0, (memoryview(b"".join(sent)),), 1_400) is None
    got = [peer.recvfrom(65_535) for _ in sizes]
    assert [data for data, _ in got] == [bytes(part) for part in sent]
    assert len({address for _, address in got}) == 1


def test_a_burst_of_many_parts_arrives_as_its_datagrams(underlay: UdpUnderlay, far: Far) -> None:
    peer, to = far
    sent = spread([60] * 150 + [30])
    assert underlay.send(to, 5, 0, sent, 60) is None
    assert [peer.recv(65_535) for _ in sent] == [bytes(part) for part in sent]


@pytest.mark.conformance("O4")
def test_a_burst_the_kernel_refuses_is_sent_plainly_and_no_more_are_tried(
    underlay: UdpUnderlay, far: Far
) -> None:
    peer, to = far
    for sender in underlay._pool:
        # The kernel cuts no datagrams without checksums: EINVAL, as some devices give EIO.
        sender.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)
    sent = spread([500] * 20)
    for _ in range(3):
        assert underlay.send(to, 5, 0, sent, 500) is None
        assert [peer.recv(65_535) for _ in sent] == [bytes(part) for part in sent]
    assert underlay.counters()["gso_fallbacks"] == 1

    underlay.forget(to)
    assert underlay.send(to, 5, 0, sent, 500) is None
    assert underlay.counters()["gso_fallbacks"] == 2


def test_datagrams_too_large_for_the_way_are_told_and_bursts_go_on(
    underlay: UdpUnderlay, far: Far
) -> None:
    peer, to = far
    large = memoryview(bytes(65_600))
    assert underlay.send(to, 5, 0, (large,), 65_600) == Refusal(1, DropReason.TOO_BIG)
    sent = spread([1_000] * 10)
    assert underlay.send(to, 5, 0, sent, 1_000) is None
    assert [peer.recv(65_535) for _ in sent] == [bytes(part) for part in sent]
    assert underlay.counters()["gso_fallbacks"] == 0


def test_a_peer_of_the_other_family_is_an_error_and_no_exception(underlay: UdpUnderlay) -> None:
    nowhere = Vtep(parse_ip("2001:db8::1"), 4789)
    refusal = underlay.send(nowhere, 5, 0, spread([100, 100, 100]), 100)
    assert refusal == Refusal(3, DropReason.UNDERLAY_ERROR)
    assert underlay.send(nowhere, 5, 0, spread([100]), 100) == Refusal(1, DropReason.UNDERLAY_ERROR)
    assert underlay.counters()["send_errors"] > 0


def test_a_burst_is_received_with_its_shape_its_sender_and_its_mark(
    underlay: UdpUnderlay,
) -> None:
    to = ("127.0.0.1", underlay._local.port)
    buffer = memoryview(bytearray(65_536))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        segment = (socket.SOL_UDP, 103, struct.pack("=H", 700))
        mark = (socket.IPPROTO_IP, socket.IP_TOS, struct.pack("=i", 2))
        peer.sendmsg([bytes(700 * 9 + 10)], [segment, mark], 0, to)
        peer.sendto(b"alone", to)
    assert underlay.receive(buffer) == Burst(6_310, 700, HERE, 2, truncated=False)
    assert underlay.receive(buffer) == Burst(5, 5, HERE, 0, truncated=False)
    assert underlay.receive(buffer) is None


def test_a_datagram_larger_than_the_buffer_is_known_to_be_cut_off(underlay: UdpUnderlay) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.sendto(bytes(100), ("127.0.0.1", underlay._local.port))
    burst = underlay.receive(memoryview(bytearray(60)))
    assert burst is not None
    assert burst.truncated


@pytest.mark.conformance("X10")
def test_datagrams_are_never_fragmented(underlay: UdpUnderlay) -> None:
    discover, probe = 10, 3  # IP_MTU_DISCOVER, IP_PMTUDISC_PROBE
    assert {s.getsockopt(socket.IPPROTO_IP, discover) for s in underlay._pool} == {probe}


def test_source_ports_are_dynamic_ones_and_all_different(underlay: UdpUnderlay) -> None:
    ports = [sender.getsockname()[1] for sender in underlay._pool]
    assert len(set(ports)) == 16
    assert all(49152 <= port <= 65535 and port != 65330 for port in ports)


@pytest.mark.parametrize(
    ("local", "mend"),
    [
        (Vtep(parse_ip("192.0.2.77"), 4789), "no such address"),
        (Vtep(parse_ip("2001:db8::77"), 4789), "no such address"),
    ],
)
def test_an_address_this_host_does_not_have_is_one_sentence(local: Vtep, mend: str) -> None:
    underlay = UdpUnderlay(local)
    with pytest.raises(HostError, match=mend):
        underlay.open()
    underlay.close()


def test_a_closed_underlay_gives_its_port_back() -> None:
    port = free_port()
    for _ in range(2):
        underlay = UdpUnderlay(Vtep(HERE, port))
        underlay.open()
        underlay.close()
        underlay.close()
    assert underlay.receive(memoryview(bytearray(10))) is None
