"""The parts that answer for names and services, put together."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from vxnet.addresses import Addresses
from vxnet.cnm.driver import NetworkDriver
from vxnet.cnm.model import Network, NetworkId
from vxnet.config import Settings, parse_host_port
from vxnet.control.base import ControlPlane
from vxnet.door import open_door
from vxnet.errors import VxnetError
from vxnet.forwarding import Forwarding
from vxnet.health import HealthChecks
from vxnet.host.base import HostNetwork, Store
from vxnet.host.upstream import Upstream
from vxnet.ingress import Ingress
from vxnet.names.lookup import ServiceFinder
from vxnet.nameservice import NameService
from vxnet.networks import Networks
from vxnet.registry import Registry
from vxnet.resolvers import DNS_PORT, Resolvers
from vxnet.resolvfiles import ResolvFiles
from vxnet.services import Services
from vxnet.waysback import WaysBack
from vxnet.waysout import WaysOut

__all__ = ["Naming", "build_naming", "build_resolvers"]

Report = Callable[[VxnetError], None]


@dataclass(frozen=True, slots=True)
class Naming:
    """What goes on as long as the daemon does."""

    names: NameService
    resolvers: Resolvers
    files: ResolvFiles
    services: Services
    health: HealthChecks
    ingress: Ingress
    ways_out: WaysOut
    ways_back: WaysBack

    def work(self, report: Report) -> list[Coroutine[Any, Any, None]]:
        """What is to run until cancelled."""
        return [
            self.files.run(report),
            self.services.run(report),
            self.health.run(report),
            self.ingress.run(report),
            self.ways_out.run(report),
            self.ways_back.run(report),
        ]

    def counters(self) -> dict[str, int]:
        """What was counted."""
        return {
            "bad_name_rows": self.names.bad_rows,
            "refused_name_rows": self.names.refused_rows,
            "bad_service_rows": self.services.bad_rows,
            **self.resolvers.counts(),
            **self.ingress.counters(),
        }


def build_resolvers(
    settings: Settings,
    names: NameService,
    registry: Registry,
    forwarding: Forwarding,
    find_network: Callable[[NetworkId], Network | None],
    find_service: ServiceFinder,
    report: Report,
) -> Resolvers:
    """The resolvers of this host, which ask those of the settings or of the system."""
    upstream = [parse_host_port(server, DNS_PORT) for server in settings.dns.upstream]
    return Resolvers(
        names,
        registry,
        forwarding,
        find_network,
        find_service,
        open_door,
        partial(Upstream, upstream),
        report,
    )


def build_naming(
    settings: Settings,
    control: ControlPlane,
    store: Store,
    networks: Networks,
    addresses: Addresses,
    registry: Registry,
    names: NameService,
    resolvers: Resolvers,
    forwarding: Forwarding,
    overlay: NetworkDriver,
    host: HostNetwork,
    now_ms: Callable[[], int],
    random: Random,
) -> Naming:
    """All of it, told of each other's changes."""
    services = Services(
        control, store, networks, addresses, names, forwarding, now_ms=now_ms, random=random
    )
    services.watchers.append(resolvers.renew)
    resolvers.arrivals.append(services.arrived)
    files = ResolvFiles(registry, networks.by_id if settings.dns.enabled else lambda _: None)
    health = HealthChecks(names, registry, services, resolvers)
    ingress = Ingress(
        services,
        networks,
        addresses,
        overlay,
        host,
        lambda: control.members()[0].id,
        random,
        enabled=settings.services.ingress,
    )
    ways_out = WaysOut(names, registry, services, host)
    ways_back = WaysBack(services, networks, registry, forwarding, control)
    resolvers.arrivals.append(ways_back.arrived)
    return Naming(names, resolvers, files, services, health, ingress, ways_out, ways_back)
