"""`vxnet trace` on real clusters: what both switches decide, and a probe that is really sent."""

import json
from collections.abc import Iterator

import pytest

from tests.helpers.clusters import cluster_on, vxnet
from tests.helpers.datapaths import DATAPATHS
from vxnet.api.seen import TraceView
from vxnet.demo.cluster import Cluster, wait_for
from vxnet.demo.station import Station

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module", params=DATAPATHS)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Two hosts and a network."""
    with cluster_on(2, datapath=request.param, network="blue") as built:
        yield built


@pytest.fixture(scope="module")
def stations(cluster: Cluster) -> tuple[Station, Station, Station]:
    """Two on the first host, one on the second, which all hosts know."""
    first, second = cluster.daemons
    found = first.attach("blue"), first.attach("blue", name="more"), second.attach("blue")
    macs = {station.mac for station in found}
    for daemon in cluster.daemons:
        wait_for(lambda: macs <= {row.mac for row in daemon.fdb()}, 30, "a host knows all")  # noqa: B023
    return found


def trace(cluster: Cluster, source: str, target: str) -> TraceView:
    """What a user gets on the first host, and its exit status checked."""
    done = vxnet(cluster.daemons[0], "trace", "blue", source, target, "--json")
    answer = TraceView(**json.loads(done.stdout))
    assert done.returncode == (0 if answer.delivered else 1)
    return answer


def said(answer: TraceView) -> list[tuple[str, str]]:
    """The steps, each with its host."""
    return [(step["host"], step["text"]) for step in answer.steps]  # type: ignore[index]


@pytest.mark.parametrize("version", [0, 1])
def test_a_probe_is_followed_to_the_other_host_and_back(
    cluster: Cluster, stations: tuple[Station, Station, Station], version: int
) -> None:
    near, _, far = stations
    address = far.addresses[version]
    answer = trace(cluster, near.sandbox.name, address)
    vtep = cluster.daemons[1].vtep
    assert answer.delivered
    steps = said(answer)
    asked = ("ARP", "neighbour discovery")[version]
    assert ("h1", f"{asked} for {address}: the switch answers it here") in steps
    assert ("h1", f"{address} is MAC {far.mac}: behind h2 ({vtep}:4789), by control") in steps
    assert any(text.endswith(f"the switch sends it to h2 ({vtep}:4789)") for _, text in steps)
    name = near.sandbox.name
    assert (
        "h1",
        f"the probe came from endpoint {name} and was sent to h2 ({vtep}:4789)",
    ) in steps
    assert ("h2", f"the probe came from peer h1 and was delivered to {far.sandbox.name}") in steps
    host, last = steps[-1]
    assert host == "h1"
    assert last.startswith("the answer came from peer h2 after")
    assert last.endswith(f"was delivered to {name}")


def test_a_probe_within_one_host_is_followed_too(
    cluster: Cluster, stations: tuple[Station, Station, Station]
) -> None:
    near, more, _ = stations
    answer = trace(cluster, near.addresses[0], more.addresses[0])
    assert answer.delivered
    name = more.sandbox.name
    assert any(text.endswith(f"the switch gives it to endpoint {name}") for _, text in said(answer))
    assert {host for host, _ in said(answer)} == {"h1"}


def test_a_probe_that_is_lost_on_the_way_is_said_to_be(
    cluster: Cluster, stations: tuple[Station, Station, Station]
) -> None:
    near, _, far = stations
    other = cluster.daemons[1].host
    chain = "type filter hook input priority 0;\nudp dport 4789 drop"
    rule = f"table inet t {{\nchain i {{\n{chain}\n}}\n}}\n"
    other.run(["nft", "-f", "-"], input_text=rule)
    try:
        answer = trace(cluster, near.sandbox.name, far.addresses[0])
    finally:
        other.run(["nft", "delete", "table", "inet", "t"])
    assert not answer.delivered
    assert said(answer)[-1] == ("h2", "the probe was not seen")


def test_nobody_s_address_and_mac_are_said_to_be_nobody_s(
    cluster: Cluster, stations: tuple[Station, Station, Station]
) -> None:
    near, *_ = stations
    answer = trace(cluster, near.sandbox.name, "10.9.0.200")
    assert said(answer)[-1] == ("h1", "nobody is known to have 10.9.0.200")
    answer = trace(cluster, near.sandbox.name, "10.8.0.1")
    assert "lies in no subnet of the network" in said(answer)[-1][1]
    answer = trace(cluster, near.sandbox.name, "02:00:00:00:00:99")
    assert any("floods it to 1 endpoints here and to h2" in text for _, text in said(answer))


def test_what_cannot_be_traced_from_here_is_refused_in_a_sentence(
    cluster: Cluster, stations: tuple[Station, Station, Station]
) -> None:
    near, _, far = stations
    for arguments, sentence in (
        (("nowhere", near.sandbox.name, far.mac), "nowhere"),
        (("blue", far.addresses[0], near.mac), "is behind h2"),
        (("blue", "nobody", far.mac), "nobody is no endpoint of network blue on this host"),
        (("blue", near.sandbox.name, "10.9.0"), "10.9.0"),
    ):
        done = vxnet(cluster.daemons[0], "trace", *arguments)
        assert done.returncode == 1
        assert sentence in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
