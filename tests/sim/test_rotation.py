"""Keys that change while the cluster runs: nobody is lost, not even who slept through it."""

import pytest

from vxnet.errors import StateError
from vxnet.gossip.events import MemberChanged, MemberState
from vxnet.gossip.security import key_id
from vxnet.sim.cluster import Cluster

VNI = 5


def key(number: int) -> bytes:
    return bytes((number,)) * 32


def rotate(cluster: Cluster, old: int, new: int) -> None:
    """Install, use, remove, host by host, as an operator would."""
    for host in cluster.up:
        host.do(lambda node, now: node.keys.install(key(new), now))
        cluster.run(0.1)
    cluster.run(2.0)
    for host in cluster.up:
        host.do(lambda node, now: node.keys.use(key_id(key(new)), now))
        cluster.run(0.1)
    cluster.run(1.0)
    for host in cluster.up:
        host.do(lambda node, now: node.keys.remove(key_id(key(old)), now))
        cluster.run(0.1)


def test_twenty_rotations_lose_nobody_and_nothing() -> None:
    cluster = Cluster(5, 1, keys=(key(0),), warm=True, vnis=(VNI,))
    cluster.run(1.0)
    for number in range(20):
        rotate(cluster, number, number + 1)
        cluster["n0"].announce(VNI, b"\x02\0\0\0\0" + bytes((number,)))
        cluster.run(1.0)
        assert cluster.differences() == []
    changes = {
        event.member.state
        for host in cluster
        for _, event in host.log
        if isinstance(event, MemberChanged)
    }
    assert changes <= {MemberState.ALIVE}
    assert {host.node.security.keyring.ids for host in cluster} == {(key_id(key(20)),)}  # type: ignore[union-attr]


def test_a_key_is_not_used_while_a_live_member_lacks_it() -> None:
    cluster = Cluster(3, 2, keys=(key(0),), warm=True)
    cluster["n0"].do(lambda node, now: node.keys.install(key(1), now))
    cluster.run(2.0)
    with pytest.raises(StateError, match="n1, n2"):
        cluster["n0"].do(lambda node, now: node.keys.use(key_id(key(1)), now))
    cluster.run(5.0)
    assert cluster.joined()


def test_the_only_key_of_a_member_that_is_asleep_is_not_removed() -> None:
    cluster = Cluster(3, 3, keys=(key(0),), warm=True)
    cluster["n2"].pause(60.0)
    cluster.run(20.0)
    with pytest.raises(StateError, match="n2"):
        rotate(cluster_without(cluster, "n2"), 0, 1)


def cluster_without(cluster: Cluster, name: str) -> Cluster:
    """The same cluster as its operator sees it who cannot reach one host."""
    cluster.hosts = [host for host in cluster.hosts if host.name != name]
    return cluster


def test_a_host_that_slept_through_two_rotations_finds_back() -> None:
    cluster = Cluster(4, 4, keys=(key(0),), warm=True, vnis=(VNI,))
    sleeper = cluster["n3"]
    sleeper.pause(120.0)
    cluster.run(20.0)
    awake = [host for host in cluster if host is not sleeper]
    for old, new in ((0, 1), (1, 2)):
        for host in awake:
            host.do(lambda node, now, new=new: node.keys.install(key(new), now))
        cluster.run(2.0)
        for host in awake:
            host.do(lambda node, now, new=new: node.keys.use(key_id(key(new)), now))
        cluster.run(2.0)
        if old:  # the sleeper's own key stays; one it never had may go
            for host in awake:
                host.do(lambda node, now, old=old: node.keys.remove(key_id(key(old)), now))
    awake[0].announce(VNI, b"\x02\0\0\0\0\1")
    cluster.run(100.0)
    assert cluster.until(cluster.joined, 30.0) is not None
    cluster.run(3.0)
    assert cluster.has(sleeper, VNI, b"\x02\0\0\0\0\1")
