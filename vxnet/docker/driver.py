"""libnetwork's remote network driver: dockerd's calls become the verbs of vxnet."""

import logging
from typing import Any, Final

import msgspec

from vxnet.cnm.libnetwork import (
    AllocateAnswer,
    Capabilities,
    CreateEndpoint,
    CreateEndpointAnswer,
    CreateNetwork,
    EndpointNames,
    InfoAnswer,
    InterfaceName,
    Join,
    JoinAnswer,
    NetworkNames,
    ProgramConnectivity,
)
from vxnet.cnm.model import Endpoint, IpAddress, Network, device_name
from vxnet.docker.endpoints import DockerEndpoints, read_ports
from vxnet.docker.gateways import Gateways
from vxnet.docker.ledger import DockerNetwork
from vxnet.docker.networks import DockerNetworks, gateways_of
from vxnet.errors import VxnetError

__all__ = ["DockerDriver"]

IFNAME_PREFIX: Final = "eth"

_log = logging.getLogger(__name__)


class DockerDriver:
    """Answers from what this host knows; every call may come twice."""

    def __init__(
        self, networks: DockerNetworks, endpoints: DockerEndpoints, gateways: Gateways, scope: str
    ) -> None:
        self._networks = networks
        self._endpoints = endpoints
        self._gateways = gateways
        self._scope = scope

    async def capabilities(self) -> Capabilities:
        """Local, since Docker on each host has its own networks; their connectivity is global."""
        return Capabilities(self._scope, "global")

    async def allocate(self, message: CreateNetwork) -> AllocateAnswer:
        """A swarm's manager made a network: every node is told these options."""
        options = message.options or {}
        return AllocateAnswer({str(key): str(value) for key, value in options.items()})

    async def free(self, message: NetworkNames) -> None:
        """A swarm's manager removed a network; every node that has it is told by itself."""

    async def create_network(self, message: CreateNetwork) -> None:
        await self._networks.create(message)

    async def delete_network(self, message: NetworkNames) -> None:
        """dockerd removes a network's endpoints first; what it forgot of them goes now."""
        network = self._networks.only_of(message.network)
        for endpoint in list(self._endpoints):
            if network is not None and endpoint.network == network.id:
                await self.remove(endpoint)
        await self._networks.delete(message.network)

    async def create_endpoint(self, message: CreateEndpoint) -> CreateEndpointAnswer:
        docker, network = await self._networks.of(message.network)
        return CreateEndpointAnswer(await self._endpoints.create(message, docker, network))

    async def delete_endpoint(self, message: EndpointNames) -> None:
        endpoint = self._endpoints.find(message.endpoint)
        if endpoint is not None:
            await self.remove(endpoint)

    async def remove(self, endpoint: Endpoint) -> None:
        """Remove an endpoint, and the gateway with a network's last."""
        await self._endpoints.remove(endpoint)
        await self._gateways.close_unused(endpoint.network)

    async def info(self, message: EndpointNames) -> InfoAnswer:
        """What `docker inspect` may show."""
        endpoint = self._endpoints.find(message.endpoint)
        if endpoint is None:
            return InfoAnswer({})
        value: dict[str, Any] = {
            "com.vxnet.endpoint": endpoint.name,
            "com.vxnet.device": device_name(endpoint.id),
            "com.vxnet.published": [str(port) for port in endpoint.published],
        }
        return InfoAnswer(value)

    async def join(self, message: Join) -> JoinAnswer:
        docker, network = await self._networks.of(message.network)
        device = await self._endpoints.lend(message)
        gateways = {gateway.version: str(gateway) for gateway in await self._open(docker, network)}
        return JoinAnswer(
            InterfaceName(device, IFNAME_PREFIX),
            gateway=gateways.get(4, ""),
            gateway_ipv6=gateways.get(6, ""),
            # Without a gateway dockerd would join its own gateway bridge, which leads out.
            disable_gateway_service=docker.internal,
        )

    async def leave(self, message: EndpointNames) -> None:
        await self._endpoints.take_back(message.endpoint)

    async def program(self, message: ProgramConnectivity) -> None:
        """The endpoint is its sandbox's way out from now on; publish its ports."""
        wanted = read_ports(message.options)
        endpoint = self._endpoints.get(message.endpoint)
        ports = self._endpoints.choose_ports(endpoint, wanted)
        if ports != endpoint.published:
            await self._endpoints.publish(endpoint, ports)
            await self._gateways.apply()

    async def revoke(self, message: EndpointNames) -> None:
        endpoint = self._endpoints.find(message.endpoint)
        if endpoint is not None and endpoint.published:
            await self._endpoints.publish(endpoint, ())
            await self._gateways.apply()

    async def discover(self, message: msgspec.Raw) -> None:
        """Of other nodes dockerd tells; gossip knows them."""

    async def resume(self) -> None:
        """After a restart: the gateways of the networks that have containers here, no others."""
        for docker, network in self._networks.known():
            used = any(e.network == network.id and e.sandbox for e in self._endpoints)
            if used:
                await self._open(docker, network)
        await self._gateways.sweep()
        await self._gateways.apply()

    async def _open(self, docker: DockerNetwork, network: Network) -> tuple[IpAddress, ...]:
        if docker.internal:
            return ()
        try:
            return await self._gateways.open(network, gateways_of(docker, network))
        except VxnetError as error:
            _log.warning("no gateway", {"network": network.name, "reason": error})
            return ()
