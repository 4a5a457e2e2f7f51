"""The contract: inner checksums that one host leaves to another, where both have said so.

The pure datapath never says it, and never leaves one out: the same tests show that too.
"""

import numpy as np
import pytest
from scapy.layers.inet import TCP, UDP
from scapy.layers.l2 import Ether

from tests.datapath.conftest import StageMaker
from tests.datapath.stage import VNI, Stage
from tests.helpers.datapaths import DATAPATHS
from tests.helpers.frames import is_sound, plain_frame, pseudo_sum, super_frame
from vxnet.datapath.base import DatapathSettings
from vxnet.switch.actions import DropReason
from vxnet.underlay.udp import UdpSettings
from vxnet.wire import virtio, vxlan
from vxnet.wire.checksum import complete
from vxnet.wire.virtio import Flag, Gso, VnetHeader

PLAIN = vxlan.build(VNI)
A, B = 0x0A, 0x0B
COMPLETING = [kind for kind in DATAPATHS if kind != "pure"]
SIZE = 1_000


def left_header(version: int, layer: TCP | UDP) -> bytes:
    """The VXLAN header as Linux writes it with `remcsumtx`."""
    start = 14 + (20 if version == 4 else 40)
    low = start // 2 | (0x80 if isinstance(layer, UDP) else 0)
    return b"\x08\x20\x00\x00" + VNI.to_bytes(3) + bytes((low,))


def without_checksum(frame: bytes) -> bytes:
    """A frame with what a sender leaves in the place of its transport checksum."""
    packet = Ether(frame)
    layer = packet[TCP] if packet.haslayer(TCP) else packet[UDP]
    at = len(frame) - len(layer) + (16 if packet.haslayer(TCP) else 6)
    return frame[:at] + pseudo_sum(packet) + frame[at + 2 :]


def completed(frame: bytes, start: int, at: int) -> bytes:
    """A frame with the checksum written that was left out."""
    room = bytearray(frame)
    complete(room, start, at - start)
    return bytes(room)


def tcp(index: int = 0, size: int = SIZE) -> TCP:
    return TCP(sport=1, dport=2, seq=5_000 + index * size, ack=9, flags="A", window=500)


@pytest.fixture(params=[4, 6])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.mark.conformance("X1", "O1")
@pytest.mark.parametrize("layer", [tcp(), UDP(sport=1, dport=2)], ids=["tcp", "udp"])
async def test_the_frames_of_a_super_frame_leave_as_the_receiver_takes_them(
    stage: Stage, version: int, layer: TCP | UDP
) -> None:
    link, remote = stage.port(A), stage.remote("127.0.0.2", B, completes=True)
    payload = np.random.default_rng(1).bytes(30_500)
    frame, vnet = super_frame(version, layer, payload, SIZE)
    link.send(frame, virtio.build(vnet))

    arrived = await remote.receive(31)

    frames = [one.frame for one in arrived]
    if stage.datapath.completes_checksums:
        assert {one.header for one in arrived} == {left_header(version, layer)}
        assert frames == [without_checksum(one) for one in frames]
        at = vnet.checksum_start + vnet.checksum_offset
        frames = [completed(one, vnet.checksum_start, at) for one in frames]
    else:
        assert {one.header for one in arrived} == {PLAIN}
    assert all(is_sound(Ether(one)) for one in frames)


@pytest.mark.conformance("X1", "O1")
async def test_nothing_is_left_to_whom_it_was_not_offered(stage: Stage, version: int) -> None:
    link, remote = stage.port(A), stage.remote("127.0.0.2", B)
    frame, vnet = super_frame(version, tcp(), bytes(3_000), SIZE)
    link.send(frame, virtio.build(vnet))
    arrived = await remote.receive(3)
    assert {one.header for one in arrived} == {PLAIN}
    assert all(is_sound(Ether(one.frame)) for one in arrived)


@pytest.mark.parametrize(
    "settings",
    [DatapathSettings(UdpSettings(checksum=False)), DatapathSettings(remote_checksum=False)],
    ids=["no outer checksum covers it", "it is not wanted"],
)
async def test_who_does_not_offer_it_does_not_use_it(
    make_stage: StageMaker, version: int, settings: DatapathSettings
) -> None:
    stage = await make_stage(settings=settings)
    assert not stage.datapath.completes_checksums
    link, remote = stage.port(A), stage.remote("127.0.0.2", B, completes=True)
    frame, vnet = super_frame(version, tcp(), bytes(3_000), SIZE)
    link.send(frame, virtio.build(vnet))
    arrived = await remote.receive(3)
    assert {one.header for one in arrived} == {PLAIN}
    assert all(is_sound(Ether(one.frame)) for one in arrived)


@pytest.mark.parametrize("kind", COMPLETING, indirect=True)
@pytest.mark.parametrize("offers", [True, False], ids=["offered", "not any more"])
async def test_what_a_member_left_out_is_completed_whatever_is_known_of_it(
    make_stage: StageMaker, version: int, offers: bool
) -> None:
    stage = await make_stage(settings=DatapathSettings(remote_checksum=offers))
    link, remote = stage.port(B), stage.remote("127.0.0.2", A)
    whole = plain_frame(version, tcp(), b"alone")
    remote.send(stage.vtep, left_header(version, tcp()) + without_checksum(whole))

    ((given, frame),) = await stage.frames(link, 1)

    vnet = virtio.parse(given)
    assert vnet.flags == Flag.NEEDS_CHECKSUM
    start = vnet.checksum_start
    assert completed(frame, start, start + vnet.checksum_offset) == whole


async def test_ordinary_frames_are_complete_in_any_case(stage: Stage, version: int) -> None:
    link, remote = stage.port(A), stage.remote("127.0.0.2", B, completes=True)
    link.send(plain_frame(version, tcp(), b"x" * 300))
    (arrived,) = await remote.receive(1)
    assert arrived.header == PLAIN
    assert is_sound(Ether(arrived.frame))


@pytest.mark.parametrize("kind", COMPLETING, indirect=True)
async def test_a_burst_arrives_as_one_super_frame_for_the_kernel_to_complete(
    stage: Stage, version: int
) -> None:
    link, remote = stage.port(B), stage.remote("127.0.0.2", A, completes=True)
    payload = np.random.default_rng(2).bytes(SIZE * 20)
    whole = [
        plain_frame(version, tcp(index), payload[index * SIZE :][:SIZE]) for index in range(20)
    ]
    header = left_header(version, tcp())
    remote.send_burst(stage.vtep, [header + without_checksum(frame) for frame in whole])

    ((given, joined),) = await stage.frames(link, 1)

    vnet = virtio.parse(given)
    assert (vnet.flags, vnet.gso_size) == (Flag.NEEDS_CHECKSUM, SIZE)
    assert vnet.gso_type == (Gso.TCP4 if version == 4 else Gso.TCP6)
    assert joined.endswith(payload)


@pytest.mark.parametrize("kind", COMPLETING, indirect=True)
@pytest.mark.parametrize("layer", [tcp(), UDP(sport=1, dport=2)], ids=["tcp", "udp"])
async def test_one_alone_is_given_with_what_is_left_to_do(
    stage: Stage, version: int, layer: TCP | UDP
) -> None:
    link, remote = stage.port(B), stage.remote("127.0.0.2", A, completes=True)
    whole = plain_frame(version, layer, b"alone")
    remote.send(stage.vtep, left_header(version, layer) + without_checksum(whole))

    ((given, frame),) = await stage.frames(link, 1)

    vnet = virtio.parse(given)
    assert (vnet.flags, vnet.gso_type) == (Flag.NEEDS_CHECKSUM, Gso.NONE)
    start = vnet.checksum_start
    assert completed(frame, start, start + vnet.checksum_offset) == whole


@pytest.mark.parametrize("kind", COMPLETING, indirect=True)
async def test_what_is_left_out_elsewhere_is_written_here(stage: Stage) -> None:
    link, remote = stage.port(B), stage.remote("127.0.0.2", A, completes=True)
    whole = plain_frame(4, UDP(sport=1, dport=2), bytes(30))
    # A place within the payload, as some protocol inside might ask for it: from octet 44 to 60.
    header = b"\x08\x20\x00\x00" + VNI.to_bytes(3) + bytes((44 // 2,))
    remote.send(stage.vtep, header + whole)

    ((given, frame),) = await stage.frames(link, 1)

    assert virtio.parse(given) == VnetHeader()
    assert frame == completed(whole, 44, 60)


@pytest.mark.parametrize("kind", COMPLETING, indirect=True)
async def test_a_place_outside_the_frame_drops_it(stage: Stage) -> None:
    remote = stage.remote("127.0.0.2", A, completes=True)
    stage.port(B)
    header = b"\x08\x20\x00\x00" + VNI.to_bytes(3) + bytes((0x7F,))
    remote.send(stage.vtep, header + plain_frame(4, tcp(), b"x"))
    counters = await stage.counted(lambda stats: stats.tunnels[VNI], 1)
    assert counters.drops == {DropReason.FRAME_MALFORMED: 1}


@pytest.mark.conformance("X2")
async def test_to_all_others_the_bits_are_reserved(stage: Stage, version: int) -> None:
    link, remote = stage.port(B), stage.remote("127.0.0.2", A, learning=True)
    whole = plain_frame(version, tcp(), b"alone")
    remote.send(stage.vtep, left_header(version, tcp()) + without_checksum(whole))
    ((given, frame),) = await stage.frames(link, 1)
    assert (given, frame) == (virtio.build(VnetHeader()), without_checksum(whole))
