"""Makes the parts that serve Docker, where the settings want it."""

import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from vxnet.addresses import Addresses
from vxnet.cnm.driver import NetworkDriver
from vxnet.config import DockerSettings
from vxnet.docker.driver import DockerDriver
from vxnet.docker.endpoints import DockerEndpoints
from vxnet.docker.engine import Engine
from vxnet.docker.gateways import Gateways
from vxnet.docker.ipam import IpamDriver
from vxnet.docker.ledger import Ledger
from vxnet.docker.networks import DockerNetworks
from vxnet.docker.server import PluginServer, calls
from vxnet.docker.steward import Steward
from vxnet.endpoints import Endpoints
from vxnet.host.base import Firewall, HostNetwork, Links, Store
from vxnet.host.firewall import DockerForwardPass
from vxnet.networks import Networks
from vxnet.stations import GATEWAY_PREFIX

__all__ = ["serve_docker"]


async def serve_docker(
    settings: DockerSettings,
    stack: AsyncExitStack,
    store: Store,
    networks: Networks,
    endpoints: Endpoints,
    addresses: Addresses,
    host: HostNetwork,
    links: Links,
    overlay: NetworkDriver,
    firewall: Firewall,
    now_ms: Callable[[], int],
    listener: socket.socket | None,
) -> Steward:
    """The plugin, answering; what Docker made before is taken up already."""
    gateways = Gateways(
        overlay, host, links, firewall, DockerForwardPass(GATEWAY_PREFIX), lambda: endpoints
    )
    engine = Engine(settings.api) if settings.api else None
    ledger = Ledger(store)
    await ledger.load()
    docker_networks = DockerNetworks(
        ledger, networks, addresses, swarm=settings.scope == "global", named=engine is not None
    )
    docker_endpoints = DockerEndpoints(ledger, endpoints, addresses, host)
    driver = DockerDriver(docker_networks, docker_endpoints, gateways, settings.scope)
    ipam = IpamDriver(ledger, docker_networks, docker_endpoints, networks, addresses, host, now_ms)
    steward = Steward(
        ledger,
        docker_networks,
        docker_endpoints,
        endpoints,
        driver,
        ipam,
        gateways,
        engine,
        now_ms,
    )
    stack.push_async_callback(gateways.close_all)
    await driver.resume()
    spec = Path(settings.spec) if settings.spec else None
    server = PluginServer(Path(settings.socket), spec, calls(driver, ipam), listener)
    stack.push_async_callback(server.close)
    await server.start()
    return steward
