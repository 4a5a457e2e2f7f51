"""The demo's checks fail where what they look for is not so."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.helpers.clusters import cluster_on
from vxnet.demo import changes, checks, evidence
from vxnet.demo.stage import Stage
from vxnet.errors import StateError

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Three hosts with a station each, as the first checks leave them."""
    with cluster_on(3) as cluster:
        built = Stage(cluster, transfer_bytes=1_000_000)
        assert checks.endpoints_attached(built).ok
        assert checks.pings_answered(built).ok
        yield built


@pytest.fixture
def deaf(stage: Stage) -> Iterator[str]:
    """The last station's device is down for the time of a test: its label."""
    last = stage.stations[-1]
    last.sandbox.run(["ip", "link", "set", last.ifname, "down"])
    yield last.label
    last.sandbox.run(["ip", "link", "set", last.ifname, "up"])
    last.sandbox.run(["ip", "address", "replace", str(last.ipv6), "dev", last.ifname, "nodad"])


def test_without_endpoints_there_is_nothing_to_check(stage: Stage) -> None:
    with pytest.raises(StateError, match="nothing to try"):
        checks.pings_answered(replace(stage, attached=[]))


def test_a_silent_station_fails_the_pings(stage: Stage, deaf: str) -> None:
    finding = checks.pings_answered(stage)
    assert not finding.ok
    assert deaf in finding.seen


def test_a_station_that_hears_nothing_fails_the_broadcast(stage: Stage, deaf: str) -> None:
    finding = checks.broadcast_heard(stage)
    assert not finding.ok
    assert deaf not in finding.details["heard"]["IPv4 broadcast"]


def test_a_station_that_is_elsewhere_fails_the_table(stage: Stage) -> None:
    first, second, third = stage.stations
    swapped = [first, replace(second, mac=third.mac), replace(third, mac=second.mac)]
    finding = evidence.tables_agree(replace(stage, attached=swapped, tables={}))
    assert not finding.ok
    assert second.label in finding.seen


def test_packets_of_another_network_fail_the_capture(stage: Stage) -> None:
    first, second, third = stage.stations
    renamed = [replace(first, network="nosuch"), second, third]
    assert not evidence.packets_read(replace(stage, attached=renamed)).ok


@pytest.mark.parametrize("kind", ["bridge", "vxlan"])
def test_a_device_that_switches_in_the_kernel_fails_the_proof(stage: Stage, kind: str) -> None:
    host = stage.cluster.bed[1]
    options = ["id", "7", "dstport", "4790"] if kind == "vxlan" else []
    host.run(["ip", "link", "add", "helper0", "type", kind, *options])
    finding = evidence.kernel_idle(stage)
    host.run(["ip", "link", "delete", "helper0"])
    assert not finding.ok
    assert f"{host.name} has helper0, a {kind} device" in finding.seen
    assert evidence.kernel_idle(stage).ok


def test_forwarding_fails_the_proof(stage: Stage) -> None:
    sandbox = stage.stations[0].sandbox
    sandbox.run(["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"])
    finding = evidence.kernel_idle(stage)
    sandbox.run(["sysctl", "-q", "-w", "net.ipv4.ip_forward=0"])
    assert not finding.ok
    assert sandbox.name in finding.seen


def test_entries_that_nobody_knew_fail_the_kill() -> None:
    with cluster_on(2) as cluster:
        finding = changes.host_killed(Stage(cluster, transfer_bytes=1))
    assert not finding.ok
    assert "only 0 of 1 hosts knew" in finding.seen
