"""What a cluster survives on real devices: stopped and killed daemons, a long partition, full load.

These take minutes together; their deadlines are far above what is promised on a quiet machine.
"""

import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.helpers.clusters import cluster_on, reaches, vxnet
from vxnet.demo.cluster import Cluster, Daemon, address_of, wait_for
from vxnet.demo.namespace import Namespace
from vxnet.demo.station import Station
from vxnet.demo.traffic import ping

pytestmark = [pytest.mark.netns, pytest.mark.timeout(400)]

HOSTS = 5
PARTED_S = 90.0
HEALED_WITHIN_S = 30.0
LOAD_S = 60.0


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Five hosts and a network they all know."""
    with cluster_on(HOSTS, network="blue") as built:
        yield built


def states_of(daemons: Sequence[Daemon], name: str) -> set[str]:
    """What these daemons believe of a host."""
    return {m.state for d in daemons for m in d.members() if m.name == name}


def view(daemon: Daemon) -> tuple[object, ...]:
    """What a host shows of the cluster: members, networks, and who is where."""
    [own] = [m.vtep for m in daemon.members() if m.local]
    # Each host has the networks' resolvers itself, and tells nobody.
    rows = [r for r in daemon.fdb() if not (r.endpoint or "").startswith("resolver of ")]
    return (
        sorted((m.name, m.state) for m in daemon.members()),
        sorted((n.name, n.id, n.vni) for n in daemon.networks()),
        sorted((r.mac, r.ips, address_of(r.vtep or own)) for r in rows),
    )


def agree(daemons: Sequence[Daemon]) -> bool:
    """Whether all of them, each with an endpoint in every network in use, show the same."""
    first, *rest = (view(daemon) for daemon in daemons)
    return all(other == first for other in rest)


def knows(daemon: Daemon, station: Station) -> bool:
    """Whether a host has a row for a station."""
    return any(row.mac == station.mac for row in daemon.fdb())


def listens(place: Namespace, port: int) -> bool:
    """Whether something in a namespace accepts TCP connections to this port."""
    return bool(place.run(["ss", "-Hltn", f"sport = :{port}"]).stdout)


def test_a_daemon_stopped_for_four_seconds_is_not_declared_dead(cluster: Cluster) -> None:
    *others, sleeper = cluster.daemons
    stations = [daemon.attach("blue") for daemon in cluster.daemons]
    assert reaches(stations[0], stations[-1])
    sleeper.process.send_signal(signal.SIGSTOP)
    seen: set[str] = set()
    until = time.monotonic() + 4.0
    while time.monotonic() < until:
        seen |= states_of(others, sleeper.host.label)
        time.sleep(0.1)
    sleeper.process.send_signal(signal.SIGCONT)
    until = time.monotonic() + 4.0
    while time.monotonic() < until:
        seen |= states_of(others, sleeper.host.label)
        time.sleep(0.1)
    assert seen <= {"alive", "suspect"}
    assert reaches(stations[0], stations[-1])
    wait_for(lambda: states_of(others, sleeper.host.label) == {"alive"}, 20.0, "it is alive to all")


def test_endpoints_are_reachable_soon_after_a_killed_daemon_is_back(cluster: Cluster) -> None:
    victim = cluster.daemons[1]
    near, far = cluster.daemons[0].attach("blue"), victim.attach("blue")
    assert reaches(near, far)
    victim.kill()
    time.sleep(1.0)
    victim.start()
    victim.wait_until_ready()
    wait_for(lambda: ping(near, far.addresses[0], wait_s=1) is not None, 10.0, "it answers again")
    assert reaches(near, far)


def test_both_halves_of_a_long_partition_agree_after_it(cluster: Cluster) -> None:
    left, right = cluster.daemons[:2], cluster.daemons[2:]
    lasting = [daemon.attach("blue") for daemon in cluster.daemons]
    leaving = [daemon.attach("blue", name="leaving") for daemon in (left[1], right[1])]
    wait_for(lambda: agree(cluster.daemons), 10.0, "all hosts agree")
    cluster.bed.partition([d.host for d in left], [d.host for d in right])
    began = time.monotonic()
    wait_for(
        lambda: states_of(left, "h3") == {"dead"} and states_of(right, "h1") == {"dead"},
        60.0,
        "each half misses the other",
    )
    coming = []
    for half, gone, network in ((left, leaving[0], "red"), (right, leaving[1], "green")):
        half[0].create_network(network, ())
        coming.append(half[0].attach("blue", name="coming"))
        half[1].detach(gone)
    time.sleep(max(0.0, PARTED_S - (time.monotonic() - began)))
    cluster.bed.heal()
    wait_for(lambda: agree(cluster.daemons), HEALED_WITHIN_S, "all hosts agree again")
    for daemon in cluster.daemons:
        assert {m.state for m in daemon.members()} == {"alive"}
        assert {n.name for n in daemon.networks()} == {"blue", "green", "red"}
        assert all(knows(daemon, station) for station in (*lasting, *coming))
        assert not any(knows(daemon, station) for station in leaving)
        assert vxnet(daemon, "fdb", "--verify").returncode == 0
    assert reaches(*coming)


def test_under_full_load_nobody_is_suspected_and_news_still_travels(cluster: Cluster) -> None:
    stations = [daemon.attach("blue") for daemon in cluster.daemons]
    ring = list(zip(stations, stations[1:] + stations[:1], strict=True))
    servers = [target.sandbox.popen(["iperf3", "-s"]) for _, target in ring]
    for station in stations:
        wait_for(lambda box=station.sandbox: listens(box, 5201), 10.0, "iperf3 listens")
    suspected: set[tuple[str, str, str]] = set()
    with ThreadPoolExecutor(len(ring)) as pool:
        command = ["iperf3", "-t", str(int(LOAD_S)), "-c"]
        loads = [
            pool.submit(source.sandbox.run, [*command, target.addresses[0]], timeout_s=LOAD_S + 60)
            for source, target in ring
        ]
        until = time.monotonic() + LOAD_S - 10
        while time.monotonic() < until:
            suspected |= {
                (daemon.host.label, member.name, member.state)
                for daemon in cluster.daemons
                for member in daemon.members()
                if member.state != "alive"
            }
            time.sleep(1.0)
        news = cluster.daemons[0].attach("blue", name="news")
        for daemon in cluster.daemons:
            wait_for(lambda d=daemon: knows(d, news), 5.0, f"{daemon.host.label} hears the news")
        for load in loads:
            load.result()
    assert not suspected
    assert all(server.poll() is None for server in servers)
