"""The contract: while somebody captures, every frame is told once, with the end that is counted."""

from collections import Counter
from collections.abc import Sequence

from tests.datapath.stage import VNI, Stage, ethernet_frame, mac
from tests.datapath.test_counting import BURSTS, FROM_LINK, NEIGHBOUR, A, B
from vxnet.datapath.base import Counters, Segment, Stats
from vxnet.datapath.sight import SNAP_MAX, End, Sight, Verb
from vxnet.switch.actions import DropReason, PortId
from vxnet.wire import vxlan
from vxnet.wire.addr import BROADCAST


class Watching:
    """What a datapath told since it was asked to."""

    def __init__(self, stage: Stage, snap: int = SNAP_MAX) -> None:
        self.sights: list[Sight] = []
        self.missed = 0
        stage.datapath.watch(snap, self._hear)

    def _hear(self, sights: Sequence[Sight], missed: int) -> None:
        self.sights += sights
        self.missed += missed

    @property
    def frames(self) -> int:
        return sum(sight.frames for sight in self.sights)

    def ends(self) -> Counter[str]:
        """How many frames ended how."""
        ends: Counter[str] = Counter()
        for sight in self.sights:
            ends[sight.end.reason or sight.end.verb] += sight.frames
        return ends


def counted(stats: Stats) -> Counter[str]:
    """The same from the books; peers' are those of tunnels once more."""
    ends: Counter[str] = Counter(stats.stray)
    places: list[Counters] = [*stats.ports.values(), *stats.tunnels.values()]
    for counters in places:
        ends.update(counters.drops)
        for verb in (Verb.DELIVERED, Verb.SENT, Verb.FLOODED, Verb.REPLIED):
            ends[verb] += getattr(counters, verb)
    return Counter({end: count for end, count in ends.items() if count})


async def test_every_frame_is_told_once_with_the_end_that_is_counted(stage: Stage) -> None:
    stage.datapath.set_segment(Segment(VNI, 1_450))
    link = stage.port(A)
    stage.port(NEIGHBOUR)
    remote = stage.remote("127.0.0.2", B)
    watching = Watching(stage)
    for sent in FROM_LINK:
        link.send(sent.frame, sent.vnet)
    for burst in BURSTS:
        remote.send_burst(stage.vtep, burst)
    expected = sum(sent.frames for sent in FROM_LINK) + sum(map(len, BURSTS))
    await stage.until(lambda: sum(counted(stage.stats).values()) >= expected)
    await stage.until(lambda: watching.frames >= expected)
    assert watching.ends() == counted(stage.stats)
    assert watching.missed == 0


async def test_a_sight_says_where_a_frame_entered_and_where_it_went(stage: Stage) -> None:
    link, other = stage.port(A), stage.port(NEIGHBOUR)
    remote = stage.remote("127.0.0.2", B)
    watching = Watching(stage)
    out, inward = ethernet_frame(mac(B), mac(A)), ethernet_frame(mac(NEIGHBOUR), mac(B))
    link.send(out)
    await remote.receive(1)
    remote.send(stage.vtep, vxlan.build(VNI) + inward)
    await stage.frames(other, 1)
    link.send(ethernet_frame(BROADCAST, mac(A)))
    await stage.frames(other, 1)
    await stage.until(lambda: len(watching.sights) == 3)
    first, second, third = watching.sights
    assert (first.vni, first.entrance, first.octets) == (VNI, A, out)
    assert first.end == End(Verb.SENT, vtep=remote.vtep)
    assert (second.vni, second.entrance, second.octets) == (VNI, remote.vtep.ip, inward)
    assert second.end == End(Verb.DELIVERED, port=PortId(NEIGHBOUR))
    assert third.end == End(Verb.FLOODED, ports=1, vteps=1)
    assert first.at_ns <= second.at_ns <= third.at_ns


async def test_frames_are_cut_to_what_was_asked_for(stage: Stage) -> None:
    link = stage.port(A)
    stage.remote("127.0.0.2", B)
    watching = Watching(stage, snap=20)
    link.send(ethernet_frame(mac(B), mac(A), bytes(500)))
    await stage.until(lambda: len(watching.sights) == 1)
    [sight] = watching.sights
    assert (len(sight.octets), sight.length) == (20, 514)


async def test_nothing_is_told_any_more_once_nobody_captures(stage: Stage) -> None:
    link = stage.port(A)
    remote = stage.remote("127.0.0.2", B)
    watching = Watching(stage)
    link.send(ethernet_frame(mac(B), mac(A)))
    await stage.until(lambda: len(watching.sights) == 1)
    stage.datapath.watch(0, watching._hear)
    link.send(ethernet_frame(mac(B), mac(A)))
    await remote.receive(2)
    again = Watching(stage)
    link.send(ethernet_frame(mac(B), mac(A)))
    await stage.until(lambda: len(again.sights) == 1)
    assert len(watching.sights) == 1


async def test_an_injected_frame_is_carried_as_if_the_port_had_sent_it(stage: Stage) -> None:
    link = stage.port(A)
    remote = stage.remote("127.0.0.2", B)
    watching = Watching(stage)
    frame = ethernet_frame(mac(B), mac(A))
    stage.datapath.inject(PortId(A), frame)
    [arrived] = await remote.receive(1)
    assert arrived.frame == frame
    stage.datapath.inject(PortId(A), ethernet_frame(mac(B), mac(0x77)))
    await stage.until(lambda: len(watching.sights) == 2)
    assert watching.sights[1].end == End(Verb.DROPPED, reason=DropReason.PORT_SECURITY)
    stage.datapath.inject(PortId(99), frame)
    counters = await stage.counted(lambda stats: stats.ports[PortId(A)], 2)
    assert (counters.sent, counters.drops) == (1, {DropReason.PORT_SECURITY: 1})
    assert link.receive() is None
