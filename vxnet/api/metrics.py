"""Prometheus metrics: what the daemon counts, under names and units that stay as they are."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from vxnet.api.model import CountersView, StatsView, StatusView
from vxnet.api.views import Views
from vxnet.errors import HostError
from vxnet.services import Services

__all__ = ["METRICS", "Metrics", "MetricsServer", "Named"]

_log = logging.getLogger(__name__)

Labels = TypeVar("Labels", bound=tuple[str, ...])


@dataclass(frozen=True, slots=True)
class Named:
    """A metric: its name without the suffix of counters, its labels, and what it says."""

    name: str
    labels: tuple[str, ...]
    meaning: str
    is_counter: bool = False


_PLACE: Final = ("place", "name")
METRICS: Final = {
    metric.name: metric
    for metric in (
        Named("vxnet_info", ("host", "cluster", "version", "datapath"), "Always 1; says which."),
        Named("vxnet_uptime_seconds", (), "Since the daemon started."),
        Named("vxnet_members", ("state",), "Hosts of the cluster, this one included."),
        Named("vxnet_member_rtt_seconds", ("peer",), "Round trip of gossip to a host."),
        Named("vxnet_member_up", ("peer",), "1 while a host is alive, 0 otherwise."),
        Named("vxnet_networks", (), "Networks this host knows."),
        Named("vxnet_endpoints", (), "Endpoints of this host."),
        Named("vxnet_stations", ("network", "where"), "Forwarding table: `here` and `elsewhere`."),
        Named("vxnet_alarms", (), "Alarms that are up; `vxnet status` shows them."),
        Named("vxnet_gossip_lateness", (), "0 while gossip is in time, up to 8 while it is late."),
        Named("vxnet_received_frames", _PLACE, "Frames that entered at a place.", is_counter=True),
        Named("vxnet_received_bytes", _PLACE, "Octets of those frames.", is_counter=True),
        Named("vxnet_out_frames", _PLACE, "Frames that left there, with copies.", is_counter=True),
        Named("vxnet_out_bytes", _PLACE, "Octets of those frames.", is_counter=True),
        Named(
            "vxnet_carried_frames",
            (*_PLACE, "fate"),
            "What became of frames that entered: `delivered` here, `sent`, `flooded`, `replied`.",
            is_counter=True,
        ),
        Named(
            "vxnet_dropped_frames",
            (*_PLACE, "reason"),
            "Frames that entered and went nowhere, by reason.",
            is_counter=True,
        ),
        Named(
            "vxnet_stray_frames",
            ("reason",),
            "Datagrams that belong to no network of this host.",
            is_counter=True,
        ),
        Named("vxnet_service_members", ("service", "serving"), "Members of a service, by health."),
        Named(
            "vxnet_service_flows",
            ("service", "member"),
            "Flows of this host's clients that go to a member by the service's address.",
        ),
        Named(
            "vxnet_service_begun_flows",
            ("service", "member"),
            "Flows of this host's clients that ever began with a member.",
            is_counter=True,
        ),
        Named("vxnet_ingress_connections", (), "At published ports of services on this host."),
        Named("vxnet_datapath_events", ("what",), "The datapath's machinery.", is_counter=True),
        Named("vxnet_control_events", ("what",), "The control plane's machinery.", is_counter=True),
    )
}
"""Every metric of our own. `place` is `endpoint`, `network` (its tunnels) or `peer`."""

_GAUGES_OF_CONTROL: Final = {
    "local_health": "vxnet_gossip_lateness",
    "ingress_connections": "vxnet_ingress_connections",
}


class Metrics(Collector):
    """Reads the daemon's counters each time somebody asks."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def describe(self) -> Iterable[Metric]:
        """Asked for at registration, so that nothing is read before somebody scrapes."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every metric as it is now."""
        views = self._views
        yield from _of_status(views.status())
        rtt, up = _family("vxnet_member_rtt_seconds"), _family("vxnet_member_up")
        for member in views.members():
            if not member.local:
                up.add_metric([member.name], float(member.state == "alive"))
                if member.rtt_ms is not None:
                    rtt.add_metric([member.name], member.rtt_ms / 1000)
        yield from (rtt, up)
        stations: dict[tuple[str, str], int] = {}
        for row in views.fdb(None):
            key = row.network, "here" if row.vtep is None else "elsewhere"
            stations[key] = stations.get(key, 0) + 1
        yield _filled("vxnet_stations", stations)
        yield from _of_services(views.services)
        yield from _of_stats(views.stats())


class MetricsServer:
    """Answers `GET /metrics` on one address, from `start` to `close`."""

    def __init__(self, host: str, port: int, views: Views) -> None:
        self._host = host
        self._port = port
        self._registry = CollectorRegistry()
        self._registry.register(Metrics(views))
        ProcessCollector(registry=self._registry)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen. Raises HostError where the system refuses."""
        app = web.Application()
        app.router.add_get("/metrics", self._answer)
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as error:
            await runner.cleanup()
            raise HostError(
                f"metrics cannot be served on {self._host} port {self._port}: "
                f"{error.strerror or error}; choose another metrics.listen"
            ) from None
        self._runner = runner
        _log.info("metrics", {"listen": f"{self._host}:{self._port}"})

    async def close(self) -> None:
        """Stop answering. Idempotent."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})


def _of_status(status: StatusView) -> Iterator[Metric]:
    info = (status.name, status.cluster, status.version, status.datapath)
    yield _filled("vxnet_info", {info: 1})
    yield _filled("vxnet_uptime_seconds", {(): status.uptime_s})
    yield _filled("vxnet_members", {(state,): n for state, n in status.members.items()})
    yield _filled("vxnet_networks", {(): status.networks})
    yield _filled("vxnet_endpoints", {(): status.endpoints})
    yield _filled("vxnet_alarms", {(): len(status.alarms)})


def _of_services(services: Services) -> Iterator[Metric]:
    members: dict[tuple[str, str], int] = {}
    flows: dict[tuple[str, str], int] = {}
    begun: dict[tuple[str, str], int] = {}
    for row in services:
        to = services.flows(row)
        for member in services.members(row):
            serving = member.row.serving(row.name)
            if serving is not None:
                key = row.name, serving.name.lower()
                members[key] = members.get(key, 0) + 1
                key = row.name, member.row.name
                flows[key], begun[key] = to.get(member.row.station, (0, 0))
    yield _filled("vxnet_service_members", members)
    yield _filled("vxnet_service_flows", flows)
    yield _filled("vxnet_service_begun_flows", begun)


def _of_stats(stats: StatsView) -> Iterator[Metric]:
    simple: dict[str, Callable[[CountersView], int]] = {
        "vxnet_received_frames": lambda counters: counters.received,
        "vxnet_received_bytes": lambda counters: counters.received_bytes,
        "vxnet_out_frames": lambda counters: counters.out,
        "vxnet_out_bytes": lambda counters: counters.out_bytes,
    }
    places = {(place.kind, place.name): place.counters for place in stats.places}
    for name, read in simple.items():
        yield _filled(name, {place: read(counters) for place, counters in places.items()})
    yield _filled(
        "vxnet_carried_frames",
        {
            (*place, fate): getattr(counters, fate)
            for place, counters in places.items()
            for fate in ("delivered", "sent", "flooded", "replied")
        },
    )
    yield _filled(
        "vxnet_dropped_frames",
        {
            (*place, reason): count
            for place, counters in places.items()
            for reason, count in counters.drops.items()
        },
    )
    yield _filled("vxnet_stray_frames", {(reason,): n for reason, n in stats.stray.items()})
    yield _filled("vxnet_datapath_events", {(what,): n for what, n in stats.io.items()})
    control = {what: n for what, n in stats.control.items() if what not in _GAUGES_OF_CONTROL}
    yield _filled("vxnet_control_events", {(what,): n for what, n in control.items()})
    for what, name in _GAUGES_OF_CONTROL.items():
        yield _filled(name, {(): stats.control.get(what, 0)})


def _family(name: str) -> GaugeMetricFamily | CounterMetricFamily:
    metric = METRICS[name]
    kind = CounterMetricFamily if metric.is_counter else GaugeMetricFamily
    return kind(name, metric.meaning, labels=metric.labels)


def _filled(name: str, values: Mapping[Labels, float]) -> Metric:
    family = _family(name)
    for labels, value in values.items():
        family.add_metric(list(labels), value)
    return family
