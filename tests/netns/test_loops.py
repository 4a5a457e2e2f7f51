"""Two endpoints that somebody joined with a bridge of his own: no storm, and nobody is moved."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.clusters import cluster_on, drops, reaches, vxnet
from tests.helpers.datapaths import DATAPATHS
from vxnet.demo.cluster import Cluster, wait_for
from vxnet.demo.traffic import ping

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module", params=DATAPATHS)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Two hosts with a network."""
    with cluster_on(2, datapath=request.param, network="blue") as built:
        yield built


def without_ipv6() -> None:
    for devices in ("all", "default"):
        Path("/proc/sys/net/ipv6/conf", devices, "disable_ipv6").write_text("1")


@pytest.mark.conformance("V13", "V14")
def test_endpoints_joined_behind_our_back_make_no_storm(cluster: Cluster) -> None:
    here, there = cluster.daemons
    joined = here.attach("blue", name="joined")
    done = vxnet(here, "attach", "blue", "--netns", joined.sandbox.name, "--ifname", "eth1")
    assert done.returncode == 0, done.stderr
    near, far = here.attach("blue", name="near"), there.attach("blue", name="far")
    assert reaches(near, far)
    # What it says itself, of IPv6 above all, would go round under its own name until its port's
    # limit ended that: to a switch it is a port that speaks a lot. Here others speak.
    joined.sandbox.inside(without_ipv6)
    joined.sandbox.run(["ip", "link", "add", "joint", "type", "bridge", "mcast_snooping", "0"])
    for device in ("eth0", "eth1"):
        joined.sandbox.run(["ip", "link", "set", device, "master", "joint"])
        joined.sandbox.run(["ip", "link", "set", device, "up"])
    joined.sandbox.run(["ip", "link", "set", "joint", "up"])

    before = drops(here).get("port_security", 0)
    rows = {(row.mac, row.vtep) for row in here.fdb()}
    ping(near, "10.9.0.199")  # nobody's: asked for by broadcast, again and again
    wait_for(
        lambda: drops(here).get("port_security", 0) > before,
        20,
        "what the bridge sends back under others' names is dropped",
    )

    flooded = here.status().drops.get("rate_limited", 0)
    assert reaches(near, far)
    assert here.status().drops.get("rate_limited", 0) == flooded  # no storm ran into its limit
    assert {(row.mac, row.vtep) for row in here.fdb()} == rows
    for daemon in cluster.daemons:
        assert daemon.client.verify_stats().problems == ()
