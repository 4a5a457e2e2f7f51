"""Daemons on real devices: what a user of several hosts relies on."""

import itertools
import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.helpers.clusters import SUBNETS, cluster_on, drops, labels, reaches, vxnet
from tests.helpers.datapaths import DATAPATHS
from vxnet.demo.capture import Capture
from vxnet.demo.cluster import Cluster, Daemon, address_of, wait_for
from vxnet.demo.station import Station
from vxnet.demo.traffic import exchange, ping, shout, transfer

pytestmark = pytest.mark.netns


@pytest.fixture(
    scope="module",
    params=itertools.product(DATAPATHS, (4, 6)),
    ids=lambda param: f"{param[0]}-over-ipv{param[1]}",
)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Three hosts and a network they all know."""
    datapath, version = request.param
    with cluster_on(3, datapath=datapath, version=version, network="blue") as built:
        yield built


@pytest.fixture(scope="module")
def stations(cluster: Cluster) -> list[Station]:
    """A station on each host."""
    return [daemon.attach("blue") for daemon in cluster.daemons]


def knows(daemon: Daemon, mac: str) -> str | None:
    """The underlay address a daemon has for a MAC; None where it has no row for it."""
    return next((address_of(row.vtep) for row in daemon.fdb() if row.mac == mac), None)


def asked(daemon: Daemon, *arguments: str) -> Any:
    """What a command with --json says."""
    done = vxnet(daemon, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_station_reaches_every_other(stations: list[Station]) -> None:
    assert all(reaches(one, other) for one, other in itertools.permutations(stations, 2))


@pytest.mark.parametrize("version", [0, 1], ids=["inner-ipv4", "inner-ipv6"])
def test_a_stream_arrives_intact(stations: list[Station], version: int) -> None:
    target = stations[2]
    assert transfer(stations[0], target, target.addresses[version], 20_000_000).intact


def test_datagrams_and_their_fragments_come_back(stations: list[Station]) -> None:
    for address in stations[1].addresses:
        sizes = [1, 64, 1200, 1400, 4000, 20_000, 60_000]
        assert exchange(stations[0], stations[1], address, sizes) == (len(sizes), len(sizes))


@pytest.mark.conformance("X12")
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_broadcast_reaches_everybody_once(stations: list[Station], family: int) -> None:
    for source in stations:
        others = [station for station in stations if station is not source]
        assert shout(source, others, family) == labels(others)


def test_frames_between_two_endpoints_of_one_host_never_leave_it(
    cluster: Cluster, stations: list[Station]
) -> None:
    neighbour = cluster.daemons[0].attach("blue", name="near")
    try:
        with Capture(stations[0].host, cluster.port) as capture:
            assert transfer(stations[0], neighbour, neighbour.addresses[0], 1_000_000).intact
            assert reaches(neighbour, stations[0])
        between = {stations[0].addresses[0], neighbour.addresses[0]}
        assert not [s for s in capture.sightings() if all(a in s.inner for a in between)]
    finally:
        cluster.daemons[0].detach(neighbour)


@pytest.mark.conformance("V7", "V9")
def test_questions_for_known_addresses_are_answered_without_the_wire(
    cluster: Cluster, stations: list[Station]
) -> None:
    source, target = stations[0], stations[1]
    wait_for(lambda: knows(cluster.daemons[0], target.mac) is not None, 5.0, "the target is known")
    source.sandbox.run(["ip", "neighbour", "flush", "all"])
    with Capture(source.host, cluster.port) as capture:
        assert reaches(source, target)
    questions = [s for s in capture.sightings() if "ARP" in s.inner or "Solicitation" in s.inner]
    # The target's kernel may verify its own neighbour; the source's questions stay here.
    assert not [s for s in questions if s.outer_source == cluster.daemons[0].vtep]


@pytest.mark.conformance("X7")
def test_flows_leave_from_different_ports(cluster: Cluster, stations: list[Station]) -> None:
    target = stations[1]
    with Capture(stations[0].host, cluster.port) as capture:
        for _ in range(24):
            assert exchange(stations[0], target, target.addresses[0], [32]) == (1, 1)
    mine = {s.udp_source_port for s in capture.sightings() if s.outer_source.endswith("1")}
    assert len(mine) > 4


def test_nothing_in_a_sandbox_exceeds_what_the_underlay_carries(
    cluster: Cluster, stations: list[Station]
) -> None:
    overhead = 70 if ":" in cluster.daemons[0].vtep else 50
    mtu = 1500 - overhead
    source, target = stations[0], stations[2]
    whole = ["ping", "-c", "1", "-W", "3", "-M", "do", "-s"]
    source.sandbox.run([*whole, str(mtu - 28), target.addresses[0]])
    refused = source.sandbox.run([*whole, str(mtu - 27), target.addresses[0]], check=False)
    assert refused.returncode != 0


@pytest.mark.conformance("V6")
def test_a_detached_endpoint_is_forgotten_everywhere_at_once(cluster: Cluster) -> None:
    home, *others = cluster.daemons
    guest = home.attach("blue", name="guest")
    for daemon in others:
        wait_for(lambda d=daemon: knows(d, guest.mac) == home.vtep, 5.0, "the guest is known")
    home.detach(guest)
    for daemon in others:
        wait_for(lambda d=daemon: knows(d, guest.mac) is None, 5.0, "the guest is forgotten")
    assert guest.sandbox.run(["ip", "-o", "link"]).stdout.count("\n") == 1  # lo


def test_an_address_given_back_can_be_given_again(cluster: Cluster) -> None:
    first = cluster.daemons[0].attach("blue", name="tenant")
    cluster.daemons[0].detach(first)
    second = cluster.daemons[1].attach("blue", name="tenant", like=first)
    assert (second.mac, second.addresses) == (first.mac, first.addresses)
    cluster.daemons[1].detach(second)


def test_whoever_knew_an_addresses_last_holder_learns_of_the_next(
    cluster: Cluster, stations: list[Station]
) -> None:
    far, daemon = stations[2], cluster.daemons[0]
    # What it knows by ARP and neighbour discovery, it would believe for longer than anybody waits.
    for family in ("ipv4", "ipv6"):
        time_ms = f"net/{family}/neigh/{far.ifname}/base_reachable_time_ms".replace("/", ".")
        far.sandbox.run(["sysctl", "-qw", f"{time_ms}=3600000"])
    last = daemon.attach("blue", name="last")
    assert reaches(far, last)
    daemon.detach(last)
    following = daemon.attach("blue", name="next", like=replace(last, mac="02:00:00:00:00:77"))
    wait_for(lambda: reaches(far, following), 20.0, "the next one answers")
    daemon.detach(following)


def test_listings_agree_between_people_and_programs(
    cluster: Cluster, stations: list[Station]
) -> None:
    daemon = cluster.daemons[0]
    assert {m["name"] for m in asked(daemon, "peers")} == {"h1", "h2", "h3"}
    assert "blue" in {n["name"] for n in asked(daemon, "network", "ls")}
    rows = asked(daemon, "fdb")
    for station in stations:
        assert [r for r in rows if r["mac"] == station.mac]
        assert station.mac in vxnet(daemon, "fdb").stdout
    assert vxnet(daemon, "stats").returncode == 0


@pytest.mark.conformance("N1")
def test_every_frame_is_accounted_for(cluster: Cluster, stations: list[Station]) -> None:
    assert reaches(stations[0], stations[1])
    for daemon in cluster.daemons:
        for place in daemon.client.stats().places:
            if place.kind == "peer":
                continue
            c = place.counters
            ways_out = c.delivered + c.sent + c.flooded + c.replied + sum(c.drops.values())
            assert c.received == ways_out, (daemon.host.label, place)


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_a_daemon_that_leaves_is_gone_from_the_others_before_they_miss_it(
    datapath: str,
) -> None:
    with cluster_on(2, datapath=datapath) as pair:
        staying, leaving = pair.daemons
        staying.create_network("blue", SUBNETS)
        pair.wait_for_network("blue")
        staying.attach("blue")
        station = leaving.attach("blue")
        wait_for(lambda: knows(staying, station.mac) is not None, 5.0, "the station is known")
        assert leaving.stop() == 0
        # Suspicion alone would take more than four seconds.
        wait_for(lambda: knows(staying, station.mac) is None, 2.0, "the station is forgotten")
        assert {m.state for m in staying.members() if m.name == "h2"} <= {"left"}
        assert not leaving.socket.exists()
        assert station.ifname not in station.sandbox.run(["ip", "-o", "link"]).stdout


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_an_endpoint_is_back_with_its_addresses_after_a_restart(datapath: str) -> None:
    with cluster_on(2, datapath=datapath) as pair:
        steady, restarted = pair.daemons
        steady.create_network("blue", SUBNETS)
        pair.wait_for_network("blue")
        near, far = steady.attach("blue"), restarted.attach("blue")
        assert reaches(near, far)
        restarted.kill()
        restarted.start()
        restarted.wait_until_ready()
        wait_for(lambda: ping(near, far.addresses[0], wait_s=1) is not None, 20.0, "it answers")
        assert reaches(near, far)
        [endpoint] = restarted.client.endpoints()
        assert (endpoint.id, endpoint.mac) == (far.endpoint, far.mac)


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_a_link_that_carries_more_gives_sandboxes_more(datapath: str) -> None:
    with cluster_on(2, datapath=datapath, mtu=9000, network="blue") as pair:
        one, other = (daemon.attach("blue") for daemon in pair.daemons)
        [link] = json.loads(one.sandbox.run(["ip", "-j", "link", "show", one.ifname]).stdout)
        assert link["mtu"] == 8950
        assert transfer(one, other, other.addresses[0], 20_000_000).intact
        assert drops(pair.daemons[0]).get("too_big", 0) == 0
