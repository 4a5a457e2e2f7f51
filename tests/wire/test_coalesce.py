"""Joining: what was cut comes back as it was, and what must not be joined is not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from tests.helpers.frames import MAC_A, MAC_B, is_sound, network_layer, super_frame
from vxnet.wire import virtio
from vxnet.wire.checksum import total
from vxnet.wire.coalesce import join, runs
from vxnet.wire.segment import cut, plan
from vxnet.wire.virtio import Flag, Gso, VnetHeader

PREFIX = bytes.fromhex("0800000000002a00")


def rows_of(datagrams: list[bytes]) -> tuple[np.ndarray, int]:
    """Datagrams as UDP_GRO hands them over."""
    stride = len(datagrams[0])
    assert all(len(d) == stride for d in datagrams[:-1])
    assert 0 < len(datagrams[-1]) <= stride
    octets = b"".join(datagrams).ljust(stride * len(datagrams), b"\xee")  # stale octets behind
    return np.frombuffer(bytearray(octets), np.uint8).reshape(-1, stride), len(datagrams[-1])


def lengths(datagrams: list[bytes], *, udp: bool = True) -> list[int]:
    """How many frames each run has."""
    rows, last = rows_of(datagrams)
    found = runs(rows, last, len(PREFIX), udp=udp)
    assert [run.first for run in found] == list(np.cumsum([0, *(run.frames for run in found)])[:-1])
    return [run.frames for run in found]


def join_all(datagrams: list[bytes]) -> tuple[VnetHeader, bytes]:
    """All of them as one super-frame."""
    rows, last = rows_of(datagrams)
    (run,) = runs(rows, last, len(PREFIX), udp=True)
    room = np.zeros(131_072, np.uint8)
    octets = room[: join(rows, last, len(PREFIX), run, room)].tobytes()
    return virtio.parse(octets), octets[virtio.HEADER_BYTES :]


def cut_all(frame: bytes, vnet: VnetHeader) -> list[bytes]:
    room = np.zeros(262_144, np.uint8)
    done = cut(frame, plan(frame, vnet), PREFIX, room)
    octets = room[: done.size].tobytes()
    return [octets[at : at + done.stride] for at in range(0, done.size, done.stride)]


def datagram(version: int, layer: Packet, payload: bytes, **ip: int) -> bytes:
    headers = Ether(src=MAC_A, dst=MAC_B) / network_layer(version, **ip) / layer
    return PREFIX + bytes(headers / Raw(payload) if payload else headers)


def tcp(index: int, size: int = 100, flags: str = "A", **fields: object) -> TCP:
    given = {"seq": 1_000 + index * size, "ack": 9, "window": 500} | fields
    return TCP(sport=1, dport=2, flags=flags, **given)


@pytest.mark.conformance("O2")
@settings(deadline=None, max_examples=150)
@given(
    version=st.sampled_from([4, 6]),
    frames=st.integers(2, 40),
    size=st.integers(1, 1_400),
    tail=st.integers(1, 1_400),
    flags=st.sampled_from(["A", "PA", "FA", "FPA", "EA"]),
    sequence=st.integers(0, 2**32 - 1),
    number=st.integers(0, 0xFFFF),
    timestamps=st.booleans(),
)
def test_what_was_cut_is_joined_to_what_it_was(
    version: int,
    frames: int,
    size: int,
    tail: int,
    flags: str,
    sequence: int,
    number: int,
    timestamps: bool,
) -> None:
    payload = np.random.default_rng(size).bytes((frames - 1) * size + min(tail, size))
    layer = TCP(sport=1, dport=2, seq=sequence, ack=5, flags=flags, window=77)
    layer.options = [("NOP", None), ("NOP", None), ("Timestamp", (7, 9))] if timestamps else []
    frame, vnet = super_frame(version, layer, payload, size, number=number)

    joined_vnet, joined = join_all(cut_all(frame, vnet))

    assert joined_vnet == vnet
    at = vnet.checksum_start + vnet.checksum_offset
    assert joined[:at] + joined[at + 2 :] == frame[:at] + frame[at + 2 :]


@settings(deadline=None, max_examples=50)
@given(
    version=st.sampled_from([4, 6]),
    frames=st.integers(2, 60),
    size=st.integers(1, 900),
    tail=st.integers(1, 900),
)
def test_datagrams_that_were_cut_are_joined_to_what_they_were(
    version: int, frames: int, size: int, tail: int
) -> None:
    payload = np.random.default_rng(size).bytes((frames - 1) * size + min(tail, size))
    frame, vnet = super_frame(version, UDP(sport=1, dport=2), payload, size)

    joined_vnet, joined = join_all(cut_all(frame, vnet))

    assert joined_vnet == vnet
    at = vnet.checksum_start + vnet.checksum_offset
    assert joined[:at] + joined[at + 2 :] == frame[:at] + frame[at + 2 :]


@pytest.mark.parametrize("version", [4, 6])
def test_the_receiver_can_complete_the_checksum(version: int) -> None:
    vnet, joined = join_all([datagram(version, tcp(i), bytes([i]) * 100) for i in range(5)])

    assert vnet.flags == Flag.NEEDS_CHECKSUM
    assert vnet.gso_type == (Gso.TCP4 if version == 4 else Gso.TCP6)
    whole = bytearray(joined)
    at = vnet.checksum_start + vnet.checksum_offset
    whole[at : at + 2] = (0xFFFF - total(whole[vnet.checksum_start :])).to_bytes(2, "big")
    assert is_sound(Ether(bytes(whole)))


@pytest.mark.conformance("O2")
def test_a_push_and_a_fin_end_a_super_frame_and_are_kept() -> None:
    flags = ["A", "PA", "A", "A", "FA", "A", "A"]
    datagrams = [datagram(4, tcp(i, flags=f), bytes(100)) for i, f in enumerate(flags)]

    assert lengths(datagrams) == [2, 3, 2]
    assert "P" in Ether(join_all(datagrams[:2])[1])[TCP].flags
    assert "F" in Ether(join_all(datagrams[2:5])[1])[TCP].flags


@pytest.mark.conformance("O2")
@pytest.mark.parametrize("flags", ["SA", "RA", "UA", "CA", "S", ""])
def test_segments_that_mean_something_by_themselves_stay_alone(flags: str) -> None:
    middle = [datagram(4, tcp(i, flags="A" if i != 2 else flags), bytes(100)) for i in range(5)]
    assert lengths(middle) == [2, 1, 2]


@pytest.mark.conformance("O2")
@pytest.mark.parametrize("version", [4, 6])
def test_pure_acknowledgements_stay_alone(version: int) -> None:
    assert lengths([datagram(version, tcp(0), b"")] * 4) == [1, 1, 1, 1]


@pytest.mark.conformance("O2")
def test_a_gap_and_a_repetition_end_a_run() -> None:
    assert lengths([datagram(4, tcp(i), bytes(100)) for i in (0, 1, 3, 4, 4, 5)]) == [2, 2, 2]


@pytest.mark.conformance("O2")
@pytest.mark.parametrize(
    "other",
    [
        {"ack": 10},
        {"window": 501},
        {"dport": 3},
        {"options": [("NOP", None), ("NOP", None), ("Timestamp", (8, 9))]},
        {"flags": "EA"},
    ],
)
def test_headers_that_differ_are_never_joined(other: dict[str, object]) -> None:
    usual = {"options": [("NOP", None), ("NOP", None), ("Timestamp", (7, 9))]}
    same = [datagram(4, tcp(i, **usual), bytes(100)) for i in range(2)]
    layer = TCP(
        **{"sport": 1, "dport": 2, "flags": "A", "seq": 1_200, "ack": 9, "window": 500}
        | usual
        | other
    )
    assert lengths([*same, datagram(4, layer, bytes(100))]) == [2, 1]


@pytest.mark.parametrize("field", [{"tos": 1}, {"tos": 3}, {"tos": 4}])
@pytest.mark.parametrize("version", [4, 6])
def test_marks_that_differ_are_never_joined(version: int, field: dict[str, int]) -> None:
    datagrams = [
        datagram(version, tcp(0), bytes(100)),
        datagram(version, tcp(1), bytes(100), **field),
    ]
    assert lengths(datagrams) == [1, 1]


@pytest.mark.conformance("O2")
def test_fragments_options_and_tags_are_never_joined() -> None:
    def with_header(**fields: object) -> list[bytes]:
        header = IP(src="10.0.0.1", dst="10.0.0.2", **fields)
        headers = Ether(src=MAC_A, dst=MAC_B) / header
        return [PREFIX + bytes(headers / tcp(i) / Raw(bytes(100))) for i in range(3)]

    assert lengths(with_header(flags="MF")) == [1, 1, 1]
    assert lengths(with_header(frag=3)) == [1, 1, 1]
    tagged = [
        d[:20] + b"\x81\x00\x00\x05" + d[20:]
        for d in (datagram(4, tcp(i), bytes(100)) for i in range(3))
    ]
    assert lengths(tagged) == [1, 1, 1]


def test_without_df_identifications_have_to_count_up() -> None:
    def packets(numbers: list[int]) -> list[bytes]:
        header = [IP(src="10.0.0.1", dst="10.0.0.2", id=number) for number in numbers]
        ether = Ether(src=MAC_A, dst=MAC_B)
        return [
            PREFIX + bytes(ether / ip / tcp(i) / Raw(bytes(100))) for i, ip in enumerate(header)
        ]

    assert lengths(packets([65_534, 65_535, 0, 1])) == [4]
    assert lengths(packets([5, 6, 8, 9])) == [2, 2]


@settings(deadline=None, max_examples=120)
@given(
    version=st.sampled_from([4, 6]),
    udp=st.booleans(),
    wrong=st.integers(0, 5),
    at=st.integers(22, 139),
    bit=st.integers(0, 7),
)
def test_a_frame_with_a_damaged_octet_is_never_in_a_super_frame(
    version: int, udp: bool, wrong: int, at: int, bit: int
) -> None:
    layers = [UDP(sport=1, dport=2) if udp else tcp(i) for i in range(6)]
    datagrams = [datagram(version, layer, bytes([7]) * 100) for layer in layers]
    damaged = bytearray(datagrams[wrong])
    damaged[at] ^= 1 << bit
    datagrams[wrong] = bytes(damaged)

    rows, last = rows_of(datagrams)
    found = runs(rows, last, len(PREFIX), udp=True)

    (run,) = [run for run in found if run.first <= wrong < run.first + run.frames]
    assert run.frames == 1


def test_two_wrong_checksums_that_cancel_are_both_found() -> None:
    datagrams = [bytearray(datagram(4, tcp(i), bytes(100))) for i in range(4)]
    datagrams[1][-1] += 1
    datagrams[2][-1] = 0xFF  # one more there, one less here, modulo 65535
    datagrams[2][-2] = 0xFF
    assert [len(d) for d in datagrams] == [len(datagrams[0])] * 4
    assert lengths([bytes(d) for d in datagrams])[0] == 1


def test_a_damaged_first_frame_stays_alone_though_a_later_one_is_the_last() -> None:
    datagrams = [datagram(4, tcp(n, flags="FA" if n == 1 else "A"), bytes(100)) for n in range(3)]
    datagrams[0] = datagrams[0][:-1] + b"\x01"
    assert lengths(datagrams) == [1, 1, 1]


@pytest.mark.parametrize("left", [1, 8, 30, 61, 62])
def test_a_last_frame_without_payload_stays_alone(left: int) -> None:
    datagrams = [datagram(4, tcp(i), bytes(100)) for i in range(4)]
    assert lengths([*datagrams[:3], datagrams[3][:left]]) == [3, 1]
    assert lengths([datagrams[0], datagrams[1][:left]]) == [1, 1]


def test_padding_behind_the_packet_keeps_a_frame_alone() -> None:
    datagrams = [datagram(4, tcp(i, size=2), b"xy") + bytes(4) for i in range(3)]
    assert lengths(datagrams) == [1, 1, 1]


def test_a_datagram_without_checksum_stays_alone() -> None:
    plain = UDP(sport=1, dport=2, chksum=0)
    assert lengths([datagram(4, plain, bytes(40))] * 3) == [1, 1, 1]


def test_datagrams_are_joined_only_for_receivers_that_take_them() -> None:
    datagrams = [datagram(4, UDP(sport=1, dport=2), bytes(40))] * 3
    assert lengths(datagrams, udp=True) == [3]
    assert lengths(datagrams, udp=False) == [1, 1, 1]


def test_networks_are_never_joined_with_one_another() -> None:
    datagrams = [datagram(4, tcp(i), bytes(100)) for i in range(4)]
    datagrams[2] = bytes.fromhex("0800000000002b00") + datagrams[2][8:]
    assert lengths(datagrams) == [2, 1, 1]


def test_a_super_frame_never_outgrows_an_ip_packet() -> None:
    datagrams = [datagram(4, tcp(i, size=1_000), bytes(1_000)) for i in range(70)]
    assert lengths(datagrams) == [65, 5]


@settings(deadline=None)
@given(
    stride=st.integers(23, 120),
    count=st.integers(1, 20),
    seed=st.integers(0, 999),
    udp=st.booleans(),
)
def test_octets_of_any_kind_are_read_without_an_error(
    stride: int, count: int, seed: int, udp: bool
) -> None:
    octets = np.random.default_rng(seed).integers(0, 256, (count, stride), np.uint8)
    octets[:, 20:22] = (8, 0) if seed % 2 else (0x86, 0xDD)
    octets[:, 22] = 0x45 if seed % 2 else 0x60
    found = runs(octets, 1 + seed % stride, len(PREFIX), udp=udp)
    assert sum(run.frames for run in found) == count


def test_ipv6_headers_with_extensions_stay_alone() -> None:
    frame = PREFIX + bytes(
        Ether(src=MAC_A, dst=MAC_B) / IPv6(src="fd09::1", dst="fd09::2", nh=60) / Raw(bytes(80))
    )
    assert lengths([frame] * 3) == [1, 1, 1]
