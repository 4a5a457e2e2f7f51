"""Stations that move between hosts: everybody follows, and nobody follows for ever."""

import pytest

from vxnet.gossip.events import Alarm, AlarmKind, EntryFlag
from vxnet.sim.cluster import Cluster
from vxnet.sim.host import Host
from vxnet.wire.addr import Mac, Vni

VNI = 5
MAC = b"\x02\0\0\0\0\1"


def whole(size: int, seed: int = 1) -> Cluster:
    cluster = Cluster(size, seed, warm=True, vnis=(VNI,))
    cluster.run(1.0)
    return cluster


def sent(cluster: Cluster) -> int:
    """Octets on the wire so far."""
    return sum(cluster.network.octets.values()) + cluster.network.counters["stream_octets"]


def holder(cluster: Cluster, host: Host) -> str | None:
    entry = host.node.view.election.winner(VNI, MAC)
    names = {other.identity.id: other.name for other in cluster}
    return names[entry.owner] if entry is not None else None


@pytest.mark.conformance("V1")
def test_every_host_follows_a_station_within_a_second() -> None:
    cluster = whole(10)
    cluster["n0"].announce(VNI, MAC)
    cluster.run(2.0)
    cluster["n7"].announce(VNI, MAC, moved=True)
    cluster.run(1.0)
    assert {holder(cluster, host) for host in cluster} == {"n7"}


def test_the_old_owner_takes_its_row_back() -> None:
    cluster = whole(4)
    cluster["n0"].announce(VNI, MAC)
    cluster.run(1.0)
    cluster["n1"].announce(VNI, MAC, moved=True)
    cluster.run(1.0)
    own = cluster["n0"].node.table.own(VNI + 1)
    assert list(own.live()) == []


@pytest.mark.conformance("V1")
def test_two_hosts_that_claim_a_station_at_once_are_told_apart_alike_everywhere() -> None:
    cluster = whole(8)
    for name in ("n5", "n2", "n7"):
        cluster[name].announce(VNI, MAC)
    cluster.run(2.0)
    assert {holder(cluster, host) for host in cluster} == {"n2"}  # the lowest VTEP


@pytest.mark.conformance("V3")
def test_a_pinned_station_is_not_taken_by_learning() -> None:
    cluster = whole(4)
    cluster["n0"].do(
        lambda node, now: node.announce(Vni(VNI), Mac(MAC), flags=EntryFlag.STATIC, now=now)
    )
    cluster.run(1.0)
    cluster["n1"].announce(VNI, MAC, moved=True)
    cluster.run(1.0)
    assert {holder(cluster, host) for host in cluster} == {"n0"}


@pytest.mark.conformance("V2")
def test_a_station_that_moves_all_the_time_is_frozen_with_an_alarm_until_somebody_looks() -> None:
    cluster = whole(4)
    cluster["n0"].announce(VNI, MAC)
    cluster.run(1.0)
    for turn in range(8):
        cluster[f"n{1 - turn % 2}"].announce(VNI, MAC, moved=True)
        cluster.run(1.0)
    frozen = holder(cluster, cluster["n3"])
    assert any(
        isinstance(event, Alarm) and event.kind is AlarmKind.MAC_FROZEN
        for _, event in cluster["n3"].log
    )
    thief = cluster["n0"] if frozen == "n1" else cluster["n1"]
    thief.announce(VNI, MAC, moved=True)
    cluster.run(1.0)
    assert holder(cluster, cluster["n3"]) == frozen
    thief.node.view.election.unfreeze(VNI, MAC)
    thief.announce(VNI, MAC, moved=True)
    cluster.run(1.0)
    assert holder(cluster, cluster["n3"]) == thief.name


@pytest.mark.conformance("V11")
def test_one_address_at_two_stations_is_an_alarm() -> None:
    cluster = whole(4)
    cluster["n0"].announce(VNI, MAC, bytes((10, 0, 0, 1)))
    cluster["n1"].announce(VNI, b"\x02\0\0\0\0\2", bytes((10, 0, 0, 1)))
    cluster.run(2.0)
    kinds = {event.kind for _, event in cluster["n3"].log if isinstance(event, Alarm)}
    assert kinds == {AlarmKind.DUPLICATE_IP}


def test_ten_thousand_stations_of_one_host_are_everywhere_within_3_s() -> None:
    cluster = whole(4)
    for number in range(10_000):
        cluster["n0"].node.announce(
            Vni(VNI), Mac(b"\x02\1" + number.to_bytes(4, "big")), now=cluster.now
        )
    cluster["n0"].act()
    took = cluster.until(
        lambda: all(len(host.node.entries(Vni(VNI))) == 10_000 for host in cluster), 10.0
    )
    assert took is not None
    assert took <= 3.0


@pytest.mark.timeout(400)
def test_a_split_with_100_000_unchanged_rows_costs_4_kb_to_get_over() -> None:
    cluster = whole(2)
    for number in range(50_000):
        for at, host in enumerate(cluster):
            host.node.announce(
                Vni(VNI), Mac(bytes((2, at)) + number.to_bytes(4, "big")), now=cluster.now
            )
    for host in cluster:
        host.act()
    cluster.run(30.0)
    assert cluster.differences() == []
    before = sent(cluster)
    cluster.run(20.0)
    rest_per_s = (sent(cluster) - before) / 20.0
    cluster.network.split([cluster["n0"].address], [cluster["n1"].address])
    cluster.run(20.0)
    cluster.network.heal()
    before, start = sent(cluster), cluster.now
    assert cluster.until(cluster.joined, 15.0) is not None
    cluster.run(5.0)
    assert sent(cluster) - before - rest_per_s * (cluster.now - start) <= 4096
    assert cluster.differences() == []
