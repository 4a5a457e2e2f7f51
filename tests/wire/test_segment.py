"""Cutting, judged by scapy: every frame right by itself, and the stream unchanged."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from tests.helpers.frames import is_sound, plain_frame, super_frame
from vxnet.errors import WireError
from vxnet.wire.segment import cut, plan
from vxnet.wire.virtio import Gso, VnetHeader

PREFIX = bytes.fromhex("0800000000002a00")


def cut_all(frame: bytes, vnet: VnetHeader) -> list[bytes]:
    room = np.zeros(262_144, np.uint8)
    planned = plan(frame, vnet)
    done = cut(frame, planned, PREFIX, room)
    octets = room[: done.size].tobytes()
    datagrams = [octets[at : at + done.stride] for at in range(0, done.size, done.stride)]
    assert len(datagrams) == done.frames == planned.frames
    assert sum(map(len, datagrams)) == planned.octets + 8 * planned.frames
    assert max(map(len, datagrams)) == planned.largest + 8
    assert all(d[:8] == PREFIX for d in datagrams)
    return [d[8:] for d in datagrams]


def stream(frames: list[Packet], kind: type[Packet]) -> bytes:
    return b"".join(bytes(f[kind].payload) for f in frames)


@pytest.mark.conformance("O1", "O2", "O3")
@settings(deadline=None, max_examples=100)
@given(
    version=st.sampled_from([4, 6]),
    size=st.integers(1, 12_000),
    mss=st.integers(500, 9_000),
    flags=st.sampled_from(["A", "PA", "FA", "FPA", "EA", "CEA", "CPA"]),
    sequence=st.integers(0, 2**32 - 1),
    number=st.integers(0, 0xFFFF),
    options=st.sampled_from([[], [("NOP", None), ("NOP", None), ("Timestamp", (7, 9))]]),
)
def test_tcp_is_cut_into_the_segments_its_sender_asked_for(
    version: int,
    size: int,
    mss: int,
    flags: str,
    sequence: int,
    number: int,
    options: list[tuple[str, object]],
) -> None:
    payload = np.random.default_rng(size).bytes(size)
    tcp = TCP(sport=1000, dport=2000, seq=sequence, ack=77, flags=flags, window=500)
    tcp.options = options
    frame, vnet = super_frame(version, tcp, payload, mss, number=number)

    frames = [Ether(octets) for octets in cut_all(frame, vnet)]

    assert all(is_sound(f) for f in frames)
    assert stream(frames, TCP) == payload
    sizes = [len(f[TCP].payload) for f in frames]
    assert all(s == mss for s in sizes[:-1])
    assert 0 < sizes[-1] <= mss
    for index, f in enumerate(frames):
        assert f[TCP].seq == (sequence + index * mss) % 2**32
        assert f[TCP].options == Ether(frame)[TCP].options
        assert ("F" in f[TCP].flags) == ("F" in flags and index == len(frames) - 1)
        assert ("P" in f[TCP].flags) == ("P" in flags and index == len(frames) - 1)
        assert ("C" in f[TCP].flags) == ("C" in flags and index == 0)
        assert ("E" in f[TCP].flags) == ("E" in flags)
        if version == 4:
            assert f[IP].id == (number + index) % 2**16


@pytest.mark.conformance("O1")
@settings(deadline=None, max_examples=60)
@given(version=st.sampled_from([4, 6]), size=st.integers(1, 8_000), each=st.integers(400, 1_400))
def test_udp_is_cut_into_whole_datagrams(version: int, size: int, each: int) -> None:
    payload = np.random.default_rng(size).bytes(size)
    frame, vnet = super_frame(version, UDP(sport=1000, dport=2000), payload, each)

    frames = [Ether(octets) for octets in cut_all(frame, vnet)]

    assert all(is_sound(f) for f in frames)
    assert stream(frames, UDP) == payload
    assert all(len(f[UDP].payload) == each for f in frames[:-1])
    assert all(f[UDP].len == len(f[UDP].payload) + 8 for f in frames)


@pytest.mark.conformance("O2")
def test_the_urgent_pointer_keeps_pointing_at_the_same_octet() -> None:
    tcp = TCP(sport=1, dport=2, seq=100, flags="UA", urgptr=450)
    frame, vnet = super_frame(4, tcp, bytes(1000), 200)

    frames = [Ether(octets) for octets in cut_all(frame, vnet)]

    urgent = [f[TCP].urgptr for f in frames if "U" in f[TCP].flags]
    assert urgent == [450, 250, 50]


@pytest.mark.conformance("O2")
def test_headers_with_ip_options_are_kept() -> None:
    tcp = TCP(sport=1, dport=2, seq=100, flags="A")
    frame, vnet = super_frame(4, tcp, bytes(range(200)) * 5, 300, ip_options=b"\x01\x01\x01\x00")

    frames = [Ether(octets) for octets in cut_all(frame, vnet)]

    assert len(frames) == 4
    assert all(f[IP].ihl == 6 and is_sound(f) for f in frames)


@pytest.mark.parametrize(
    ("vnet", "what"),
    [
        (VnetHeader(gso_type=Gso.TCP6, gso_size=500), "other headers"),
        (VnetHeader(gso_type=Gso.UDP, gso_size=500), "other headers"),
        (VnetHeader(gso_type=Gso.UDP_FRAGMENTS, gso_size=500), "other headers"),
        (VnetHeader(gso_type=Gso.TCP4, gso_size=1), "room for"),
    ],
)
def test_what_contradicts_its_headers_is_refused(vnet: VnetHeader, what: str) -> None:
    frame, _ = super_frame(4, TCP(flags="A"), bytes(10_000), 500)
    with pytest.raises(WireError, match=what):
        cut_all(frame, vnet)


@pytest.mark.parametrize("size", [1_000, 1_001, 65_535])
def test_what_is_no_larger_than_one_frame_stays_one(size: int) -> None:
    frame, vnet = super_frame(6, UDP(sport=1, dport=2), bytes(range(250)) * 4, size)
    (whole,) = cut_all(frame, vnet)
    assert is_sound(Ether(whole))
    assert len(whole) == len(frame)


def test_a_super_frame_without_payload_is_refused() -> None:
    frame = plain_frame(4, TCP(flags="A"))
    with pytest.raises(WireError, match="without payload"):
        cut_all(frame, VnetHeader(gso_type=Gso.TCP4, gso_size=500))


def test_a_fragment_is_refused() -> None:
    frame = bytearray(plain_frame(4, TCP(flags="A"), bytes(900)))
    frame[20:22] = b"\x20\x00"  # more fragments
    with pytest.raises(WireError, match="fragment"):
        cut_all(bytes(frame), VnetHeader(gso_type=Gso.TCP4, gso_size=500))


def test_a_tagged_ipv6_super_frame_is_cut_too() -> None:
    frame, vnet = super_frame(6, TCP(flags="A"), bytes(range(250)) * 8, 700)
    tagged = frame[:12] + b"\x81\x00\x00\x05" + frame[12:]

    frames = [Ether(octets) for octets in cut_all(tagged, vnet)]

    assert [len(f[TCP].payload) for f in frames] == [700, 700, 600]
    assert all(is_sound(f) and f[IPv6].nh == 6 for f in frames)
