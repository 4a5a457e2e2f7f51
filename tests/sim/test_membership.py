"""Who is in, who is not, and who comes back: clusters that join, leave, clash and heal."""

from dataclasses import replace

import msgspec

from vxnet.gossip.events import Alarm, AlarmKind, MemberState
from vxnet.sim.cluster import Cluster
from vxnet.sim.host import Host
from vxnet.sim.network import Conditions
from vxnet.wire.addr import Vtep

VNI = 5
MAC = b"\x02\0\0\0\0\1"


def alarms(host: Host) -> set[AlarmKind]:
    return {event.kind for _, event in host.log if isinstance(event, Alarm)}


def state(host: Host, other: Host) -> MemberState:
    peer = host.node.roster.get(other.identity.id)
    assert peer is not None
    return peer.state


def whole(size: int, seed: int = 1) -> Cluster:
    cluster = Cluster(size, seed, warm=True, vnis=(VNI,))
    cluster.run(1.0)
    return cluster


def test_hosts_that_start_together_see_each_other_within_a_second_of_the_last() -> None:
    cluster = Cluster(30, 1, start_within_s=0.5)
    took = cluster.until(cluster.joined, 10.0)
    assert took is not None
    assert took <= 1.5


def test_a_cluster_forms_although_a_third_of_all_datagrams_is_lost() -> None:
    cluster = Cluster(10, 2, conditions=Conditions(loss=0.33, duplicates=0.1, reordering=0.2))
    assert cluster.until(cluster.joined, 30.0) is not None


def test_a_second_host_of_a_name_is_not_let_in_and_is_told_why() -> None:
    cluster = Cluster(4, 3)
    twin = cluster["n3"]
    twin.identity = replace(twin.identity, name="n0")
    cluster.run(5.0)
    assert twin.node.refusal is not None
    assert "n0 is taken" in twin.node.refusal
    assert alarms(twin) == {AlarmKind.DUPLICATE_NAME}
    assert len(cluster["n1"].node.members()) == 3


def test_a_name_is_free_again_once_its_holder_is_gone() -> None:
    cluster = Cluster(4, 3)
    twin = cluster["n3"]
    twin.identity = replace(twin.identity, name="n0")
    cluster.run(5.0)
    cluster["n0"].leave()
    cluster.run(10.0)
    assert twin.node.refusal is None
    assert state(cluster["n1"], twin) is MemberState.ALIVE


def test_two_members_that_claim_one_vtep_are_an_alarm_everywhere() -> None:
    cluster = Cluster(4, 3)
    other = cluster["n3"].identity
    cluster["n3"].identity = replace(
        other, vtep=Vtep(cluster["n0"].identity.vtep.ip, other.vtep.port)
    )
    cluster.run(5.0)
    assert AlarmKind.DUPLICATE_ADDRESS in alarms(cluster["n1"])


def test_two_hosts_with_one_identity_are_an_alarm_and_not_a_race() -> None:
    cluster = Cluster(4, 3)
    cluster["n3"].identity = replace(cluster["n3"].identity, id=cluster["n2"].identity.id)
    cluster.run(60.0)
    assert AlarmKind.DUPLICATE_ID in alarms(cluster["n0"])
    assert max(host.node.hub.counters["lives"] for host in cluster) <= 6


def test_a_host_that_leaves_is_gone_at_once_with_all_it_had() -> None:
    cluster = whole(6)
    cluster["n0"].announce(VNI, MAC)
    cluster.run(1.0)
    cluster["n0"].leave()
    cluster.run(1.0)
    assert not cluster.has(cluster["n5"], VNI, MAC)
    assert state(cluster["n5"], cluster["n0"]) is MemberState.LEFT


def test_a_life_that_left_never_returns_and_the_next_one_does() -> None:
    cluster = whole(4)
    cluster["n0"].leave()
    cluster.run(3.0)
    gone = cluster["n1"].node.roster.get(cluster["n0"].identity.id)
    assert gone is not None
    again = msgspec.structs.replace(gone.alive(), inc=gone.inc + 7)
    assert cluster["n1"].node.roster.alive(again, cluster.now) is None
    assert gone.state is MemberState.LEFT
    cluster["n0"].restart()
    cluster.run(5.0)
    assert cluster.joined()


def test_a_host_that_lost_its_state_file_takes_the_place_of_its_former_self() -> None:
    cluster = whole(5)
    former = cluster["n0"].identity
    cluster["n0"].crash()
    cluster.run(0.5)
    cluster["n0"].restart(state=False)
    cluster.run(5.0)
    assert cluster.joined()
    held = cluster["n4"].node.roster.get(former.id)
    assert held is None or held.state is MemberState.DEAD
    assert AlarmKind.DUPLICATE_NAME not in alarms(cluster["n4"])


def test_a_quick_restart_never_hides_what_the_host_still_has() -> None:
    cluster = whole(5)
    cluster["n0"].announce(VNI, MAC)
    cluster.run(1.0)
    cluster["n0"].crash()
    cluster.run(1.0)
    cluster["n0"].restart()
    cluster["n0"].attach(VNI)
    cluster["n0"].announce(VNI, MAC)
    for _ in range(100):
        cluster.run(0.1)
        assert cluster.has(cluster["n4"], VNI, MAC)


def test_what_a_host_no_longer_has_after_a_restart_goes_within_10_s() -> None:
    cluster = whole(5)
    cluster["n0"].announce(VNI, MAC)
    cluster.run(1.0)
    cluster["n0"].crash()
    cluster["n0"].restart()
    cluster["n0"].attach(VNI)
    cluster.run(10.0)
    assert cluster.ghosts() == []


def test_the_entries_of_a_dead_host_are_hidden_and_come_back_with_it() -> None:
    cluster = whole(5)
    cluster["n0"].announce(VNI, MAC)
    cluster.run(1.0)
    others = [host.address for host in cluster.hosts[1:]]
    cluster.network.split([cluster["n0"].address], others)
    cluster.run(15.0)
    assert state(cluster["n4"], cluster["n0"]) is MemberState.DEAD
    assert not cluster.has(cluster["n4"], VNI, MAC)
    cluster.network.heal()
    cluster.run(15.0)
    assert cluster.has(cluster["n4"], VNI, MAC)


def test_a_member_that_is_heard_one_way_only_is_kept_alive_by_the_others() -> None:
    cluster = whole(8)
    cluster.network.cut(cluster["n1"].address, cluster["n2"].address)
    cluster.run(60.0)
    assert all(
        state(host, other) is not MemberState.DEAD
        for host in cluster
        for other in cluster
        if host is not other
    )


def test_all_seeds_may_start_anew_during_a_split() -> None:
    cluster = whole(6)
    halves = (
        [host.address for host in cluster.hosts[::2]],
        [host.address for host in cluster.hosts[1::2]],
    )
    cluster.network.split(*halves)
    cluster.run(600.0)
    for host in cluster.hosts[:3]:
        host.crash()
        host.restart()
    cluster.run(30.0)
    cluster.network.heal()
    took = cluster.until(cluster.joined, 30.0)
    assert took is not None
    assert took <= 15.0
