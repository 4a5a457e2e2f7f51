"""The live check of the books: what it calls lost is lost, and what is under way is not."""

import pytest

from tests.datapath.stage import VNI, Stage, ethernet_frame, mac
from vxnet.datapath.accounting import differences, unbalanced
from vxnet.datapath.base import Counters, Stats
from vxnet.switch.actions import DropReason, PortId
from vxnet.wire import vxlan
from vxnet.wire.addr import BROADCAST

PORT = ("port", PortId(1))


def books(received: int, delivered: int, dropped: int = 0) -> Stats:
    counters = Counters(received=received, delivered=delivered)
    counters.drops = {DropReason.TOO_BIG: dropped}
    return Stats({PortId(1): counters}, {}, {}, {}, {})


@pytest.mark.parametrize(
    ("looks", "missing"),
    [
        ([books(9, 6, 3)], None),
        ([books(9, 6, 0)], 3),
        ([books(9, 6), books(19, 19)], None),
        ([books(9, 6), books(19, 17)], 2),
        ([books(9, 10), books(19, 18)], None),
        ([books(9, 11), books(19, 20)], -1),
    ],
)
def test_only_what_is_missing_in_every_look_is_missing(
    looks: list[Stats], missing: int | None
) -> None:
    assert unbalanced(map(differences, looks)).get(PORT) == missing


@pytest.mark.conformance("N1")
async def test_the_books_of_a_datapath_balance_live(stage: Stage) -> None:
    link, remote = stage.port(0x0A), stage.remote("127.0.0.2", 0x0B)
    for number in range(50):
        link.send(ethernet_frame(mac(0x0B), mac(0x0A), bytes(number)))
        link.send(ethernet_frame(BROADCAST, mac(0x0A)))
        link.send(ethernet_frame(mac(0x0B), mac(number)))
        remote.send(stage.vtep, vxlan.build(VNI) + ethernet_frame(mac(0x0A), mac(0x0B)))
        remote.send(stage.vtep, vxlan.build(VNI) + ethernet_frame(mac(0x0C), mac(0x0A)))
    await stage.until(lambda: stage.stats.ports[PortId(0x0A)].received == 150)
    await stage.until(lambda: stage.stats.tunnels[VNI].received == 100)
    await stage.until(lambda: not any(differences(stage.stats).values()))
    places = differences(stage.stats).keys()
    assert {kind for kind, _ in places} == {"port", "network", "peer"}
