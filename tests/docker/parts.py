"""The plugin over an imagined host, with an imagined dockerd to ask for names."""

from typing import Any

import msgspec

from tests.helpers.hosts import ImaginedHost
from vxnet.cnm.model import EndpointId
from vxnet.docker.driver import DockerDriver
from vxnet.docker.endpoints import DockerEndpoints
from vxnet.docker.engine import EngineContainer, EngineContainerState, EngineNetwork
from vxnet.docker.gateways import HERE, Gateways
from vxnet.docker.ipam import IpamDriver
from vxnet.docker.ledger import Ledger
from vxnet.docker.networks import DockerNetworks
from vxnet.docker.server import PluginServer, calls
from vxnet.docker.steward import Steward
from vxnet.errors import HostError, VxnetError
from vxnet.host.memory import MemoryFirewall, MemoryForwardPass, MemoryLinks

__all__ = ["ImaginedEngine", "Plugin", "docker_id"]


def docker_id(text: str) -> str:
    """64 hexadecimal digits, as Docker's ids have."""
    return text.encode().hex().ljust(64, "0")


class ImaginedEngine:
    """dockerd's API: networks by id, and the containers in them."""

    def __init__(self) -> None:
        self.named: dict[str, str] = {}
        self.containers: dict[str, dict[str, str]] = {}
        self.waiting: list[EngineContainerState] = []
        self.started: list[str] = []
        self.details: dict[str, EngineContainerState] = {}
        self.down = False

    async def stopped(self, networks: list[str]) -> list[EngineContainerState]:
        self._check()
        return self.waiting

    async def start(self, container: str) -> None:
        self._check()
        self.started.append(container)

    async def network(self, network: str) -> EngineNetwork | None:
        self._check()
        if network not in self.named:
            return None
        inside = {
            name: EngineContainer(name=name, endpoint=endpoint)
            for name, endpoint in self.containers.get(network, {}).items()
        }
        return EngineNetwork(network, self.named[network], "vxnet", inside)

    async def container(self, container: str) -> EngineContainerState | None:
        self._check()
        return self.details.get(container)

    async def networks(self) -> list[EngineNetwork]:
        self._check()
        return [EngineNetwork(network, name) for network, name in self.named.items()]

    def _check(self) -> None:
        if self.down:
            raise HostError("dockerd is down")


class Plugin:
    """Everything between the socket and the verbs, as the daemon builds it."""

    def __init__(
        self, host: ImaginedHost, *, engine: ImaginedEngine | None = None, scope: str = "local"
    ) -> None:
        self.host = host
        self.engine = engine
        host.host.sandboxes.setdefault(HERE, {})
        self.firewall = MemoryFirewall()
        self.forward = MemoryForwardPass()
        self.links = MemoryLinks()
        self.ledger = Ledger(host.store)
        self.networks = DockerNetworks(
            self.ledger,
            host.networks,
            host.addresses,
            swarm=scope == "global",
            named=engine is not None,
        )
        self.endpoints = DockerEndpoints(self.ledger, host.endpoints, host.addresses, host.host)
        self.gateways = Gateways(
            host.overlay,
            host.host,
            self.links,
            self.firewall,
            self.forward,
            lambda: host.endpoints,
        )
        self.driver = DockerDriver(self.networks, self.endpoints, self.gateways, scope)
        self.ipam = IpamDriver(
            self.ledger,
            self.networks,
            self.endpoints,
            host.networks,
            host.addresses,
            host.host,
            host.clock,
        )
        self.steward = Steward(
            self.ledger,
            self.networks,
            self.endpoints,
            host.endpoints,
            self.driver,
            self.ipam,
            self.gateways,
            engine,
            host.clock,
        )
        self.calls = calls(self.driver, self.ipam)

    async def start(self) -> "Plugin":
        await self.ledger.load()
        await self.driver.resume()
        return self

    async def call(self, path: str, **request: Any) -> dict[str, Any]:
        """What dockerd would be answered, an error as it is raised."""
        call = self.calls[path]
        if call.message is None:
            answer = await call.answer()
        else:
            answer = await call.answer(msgspec.convert(request, call.message))
        found: dict[str, Any] = {} if answer is None else msgspec.to_builtins(answer)
        return found

    async def refusal(self, path: str, **request: Any) -> str:
        """The sentence that a call is refused with."""
        try:
            answer = await self.call(path, **request)
        except VxnetError as error:
            return str(error)
        raise AssertionError(f"{path} was answered: {answer}")

    async def create_network(
        self, name: str, *pools: tuple[str, str], options: dict[str, str] | None = None, **more: Any
    ) -> str:
        """As `docker network create` with Docker's own addresses; returns the id."""
        network = docker_id(name)
        await self.call(
            "NetworkDriver.CreateNetwork",
            NetworkID=network,
            Options={"com.docker.network.generic": options or {}, **more},
            IPv4Data=[{"AddressSpace": "L", "Pool": p, "Gateway": g} for p, g in pools],
            IPv6Data=[],
        )
        return network

    async def run(self, name: str, network: str, address: str, mac: str = "") -> dict[str, Any]:
        """As `docker run`: create an endpoint and join it; returns what Join was answered."""
        names = {"NetworkID": network, "EndpointID": docker_id(name)}
        interface = {"Address": address, "AddressIPv6": "", "MacAddress": mac}
        await self.call("NetworkDriver.CreateEndpoint", **names, Interface=interface, Options={})
        key = f"/var/run/docker/netns/{name}"
        self.host.host.sandboxes.setdefault(key, {})
        return await self.call("NetworkDriver.Join", **names, SandboxKey=key, Options={})

    async def stop(self, name: str, network: str) -> None:
        """As `docker rm -f`."""
        names = {"NetworkID": network, "EndpointID": docker_id(name)}
        for verb in ("RevokeExternalConnectivity", "Leave", "DeleteEndpoint"):
            await self.call(f"NetworkDriver.{verb}", **names)

    def server(self, directory: Any) -> PluginServer:
        """The plugin's socket, and a `.spec` that says where it is."""
        return PluginServer(directory / "run/vxnet.sock", directory / "etc/vxnet.spec", self.calls)

    def endpoint_ids(self) -> set[EndpointId]:
        return {endpoint.id for endpoint in self.host.endpoints}
