"""Metrics as Prometheus gets them from a real daemon, and the dashboard that draws them."""

import json
import re
import socket
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.helpers.clusters import cluster_on, reaches
from tests.helpers.datapaths import DATAPATHS
from tests.repo.tree import ROOT
from vxnet.api.metrics import METRICS
from vxnet.api.model import AttachBody, EndpointBody, JoinBody, ServiceBody
from vxnet.demo.cluster import Cluster, Daemon, wait_for

pytestmark = pytest.mark.netns

DASHBOARD = ROOT / "deploy/grafana/vxnet.json"
PORT = 9471
METRIC = re.compile(r"\b(?:vxnet|process)_[a-z_]+")

SHOP = ServiceBody("shop", "blue", ports=("53/udp",))

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module", params=DATAPATHS)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Two hosts that serve metrics, and a network with a station on each."""
    settings = f'[metrics]\nlisten = "0.0.0.0:{PORT}"\n'
    with cluster_on(2, datapath=request.param, settings=settings, network="blue") as built:
        near, far = (daemon.attach("blue") for daemon in built.daemons)
        assert reaches(near, far)
        vip = built.daemons[0].client.create_service(SHOP).vips[0]
        sandbox = built.daemons[1].host.sandbox("m0")
        member = EndpointBody("blue", name="m0", services=("shop",))
        built.daemons[1].client.attach(AttachBody(member, JoinBody("netns", sandbox.name)))
        wait_for(
            lambda: len(built.daemons[0].client.service("shop").members) == 1,
            20.0,
            "the member is known",
        )
        with near.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.sendto(b"hello", (vip, 53))
            wait_for(
                lambda: built.daemons[0].client.service("shop").members[0].flows == 1,
                20.0,
                "the datagram's flow is counted",
            )
        yield built


def scrape(daemon: Daemon) -> Samples:
    """Everything that a daemon tells Prometheus."""
    url = f"http://127.0.0.1:{PORT}/metrics"
    text = daemon.host.inside(lambda: urllib.request.urlopen(url, timeout=10).read().decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(samples: Samples, metric: str, /, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    wanted = set(labels.items())
    return sum(
        value for (found, has), value in samples.items() if found == metric and wanted <= has
    )


def test_metrics_say_what_vxnet_stats_says(cluster: Cluster) -> None:
    daemon = cluster.daemons[0]
    before = {(p.kind, p.name): p.counters for p in daemon.client.stats().places}
    samples = scrape(daemon)
    after = {(p.kind, p.name): p.counters for p in daemon.client.stats().places}
    assert {kind for kind, _ in before} == {"endpoint", "network", "peer"}
    for (kind, name), counters in before.items():
        for metric, field in (
            ("vxnet_received_frames_total", "received"),
            ("vxnet_received_bytes_total", "received_bytes"),
            ("vxnet_out_frames_total", "out"),
            ("vxnet_out_bytes_total", "out_bytes"),
        ):
            value = of(samples, metric, place=kind, name=name)
            last = getattr(after[kind, name], field)
            assert getattr(counters, field) <= value <= last, (kind, name, metric)
            # Nobody asked the network's resolver anything.
            assert value > 0 or name == "resolver of blue", (kind, name, metric)


def test_at_every_place_what_came_is_what_was_carried_and_dropped(cluster: Cluster) -> None:
    for number, daemon in enumerate(cluster.daemons):
        samples = scrape(daemon)
        places = {
            (labels["place"], labels["name"])
            for (name, has), _ in samples.items()
            if name == "vxnet_received_frames_total" and (labels := dict(has))
        }
        kinds = sorted(place for place, _ in places)
        # One is the resolver's, and the second host has the member too.
        assert kinds == ["endpoint"] * (2 + number) + ["network", "peer"]
        for place, name in places:
            came = of(samples, "vxnet_received_frames_total", place=place, name=name)
            carried = of(samples, "vxnet_carried_frames_total", place=place, name=name)
            dropped = of(samples, "vxnet_dropped_frames_total", place=place, name=name)
            # A frame may be on its way while the counters are read.
            assert carried + dropped == pytest.approx(came, abs=2)


def test_members_and_round_trips_are_told(cluster: Cluster) -> None:
    samples = scrape(cluster.daemons[0])
    assert of(samples, "vxnet_members", state="alive") == 2
    assert of(samples, "vxnet_member_up", peer="h2") == 1
    assert 0 < of(samples, "vxnet_member_rtt_seconds", peer="h2") < 1
    assert of(samples, "vxnet_stations", network="blue", where="elsewhere") == 2
    assert of(samples, "vxnet_info", host="h1") == 1


def test_services_are_told(cluster: Cluster) -> None:
    for number, daemon in enumerate(cluster.daemons):
        samples = scrape(daemon)
        assert of(samples, "vxnet_service_members", service="shop", serving="healthy") == 1
        flows = 0 if number else 1  # the client is on the first
        assert of(samples, "vxnet_service_flows", service="shop", member="m0") == flows
        assert of(samples, "vxnet_service_begun_flows_total", service="shop", member="m0") == flows


def test_every_metric_that_the_dashboard_names_exists(cluster: Cluster) -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    named = {name for text in expressions for name in METRIC.findall(text)}
    # Counters of what never happened here have no samples; they are told once they have.
    told = {name for daemon in cluster.daemons for name, _ in scrape(daemon)}
    silent = {"vxnet_dropped_frames_total", "vxnet_stray_frames_total"}
    assert named <= told | silent
    ours = {name + ("_total" if metric.is_counter else "") for name, metric in METRICS.items()}
    assert ours <= named, "the dashboard leaves metrics out"
    assert silent <= ours


def test_labels_that_the_dashboard_names_exist(cluster: Cluster) -> None:
    text = DASHBOARD.read_text()
    labels = {
        match
        for block in re.findall(r"\{([^{}$]*)\}", text.replace('\\"', '"'))
        for match in re.findall(r'(\w+)[!=]=?~?"', block)
    }
    assert labels <= {label for metric in METRICS.values() for label in metric.labels}
