"""Docker's endpoints on this host: endpoints of vxnet that are lent to dockerd."""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from vxnet.addresses import Addresses
from vxnet.cnm.libnetwork import PORT_MAP, CreateEndpoint, Interface, Join, PortBinding
from vxnet.cnm.model import (
    Endpoint,
    EndpointId,
    EndpointState,
    IpAddress,
    IpInterface,
    IpNetwork,
    Network,
    PublishedPort,
    Sandbox,
    SandboxKind,
    derive_mac,
)
from vxnet.docker.ledger import DockerNetwork, Ledger
from vxnet.endpoints import EndpointRequest, Endpoints
from vxnet.errors import StateError, VxnetError
from vxnet.host.base import HostNetwork
from vxnet.wire.addr import Mac, format_mac, parse_mac

__all__ = ["DockerEndpoints", "endpoint_id", "read_ports"]

ARRIVES_WITHIN_S: Final = 10.0
LOOK_EVERY_S: Final = 0.1
PROTOCOLS: Final = {6: "tcp", 17: "udp", 132: "sctp"}
BINDINGS_MAX: Final = 4096

_log = logging.getLogger(__name__)


def endpoint_id(docker: str) -> EndpointId:
    """vxnet's id of one of Docker's endpoints: the first half of Docker's."""
    if len(docker) < 32 or not docker.isalnum():
        raise StateError(f"{docker[:80]!r} is not the id of an endpoint")
    return EndpointId(docker[:32])


class DockerEndpoints:
    """Makes them, lends them, and takes them back."""

    def __init__(
        self, ledger: Ledger, endpoints: Endpoints, addresses: Addresses, host: HostNetwork
    ) -> None:
        self._ledger = ledger
        self._endpoints = endpoints
        self._addresses = addresses
        self._host = host
        self._tasks: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[Endpoint]:
        """All of Docker's, oldest first."""
        return iter([endpoint for endpoint in self._endpoints if endpoint.lent])

    def find(self, docker: str) -> Endpoint | None:
        """The endpoint that Docker calls so."""
        return self._endpoints.find(endpoint_id(docker))

    def get(self, docker: str) -> Endpoint:
        """The endpoint that Docker calls so. Raises StateError."""
        found = self.find(docker)
        if found is None:
            raise StateError(f"vxnet does not know the endpoint {docker[:12]}; start it anew")
        return found

    def holder_of(self, network: Network, address: IpAddress) -> Endpoint | None:
        """The endpoint of this host that has an address."""
        for endpoint in self._endpoints:
            if endpoint.network == network.id and address in {a.ip for a in endpoint.addresses}:
                return endpoint
        return None

    async def create(
        self, message: CreateEndpoint, docker: DockerNetwork, network: Network
    ) -> Interface:
        """Make an endpoint; returns what dockerd did not choose itself."""
        asked = message.interface or Interface()
        endpoint = self.find(message.endpoint)
        if endpoint is None:
            endpoint = await self._create(message, asked, docker, network)
        chosen = {} if asked.address or asked.address_ipv6 else _by_version(endpoint.addresses)
        return Interface(
            address=chosen.get(4, ""),
            address_ipv6=chosen.get(6, ""),
            mac="" if asked.mac else format_mac(endpoint.mac),
        )

    async def lend(self, message: Join) -> str:
        """Have dockerd put the device into the sandbox; returns what it is called here."""
        endpoint = self.get(message.endpoint)
        device = await self._endpoints.lend(endpoint.id, Sandbox(SandboxKind.PATH, message.sandbox))
        task = asyncio.create_task(self._settle(endpoint.id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return device

    async def take_back(self, docker: str) -> None:
        """dockerd takes the device out of the sandbox. Idempotent."""
        if (endpoint := self.find(docker)) is not None:
            await self._endpoints.take_back(endpoint.id)

    async def remove(self, endpoint: Endpoint) -> None:
        """Have it no more, its addresses included."""
        await self._endpoints.remove(endpoint.id)

    async def publish(self, endpoint: Endpoint, ports: tuple[PublishedPort, ...]) -> None:
        """Note its published ports. Raises StateError where one is taken."""
        await self._endpoints.publish(endpoint.id, ports)

    def choose_ports(
        self, endpoint: Endpoint, wanted: Iterable[PortBinding]
    ) -> tuple[PublishedPort, ...]:
        """Which ports of the host it gets. Raises StateError where one is taken."""
        others = [p for e in self._endpoints if e.id != endpoint.id for p in e.published]
        taken = {(p.host_port, p.protocol) for p in others}
        kept = {(p.port, p.protocol): p for p in endpoint.published}
        found = []
        for binding in wanted:
            protocol = PROTOCOLS.get(binding.protocol)
            if protocol is None or not 0 < binding.port <= 65_535:
                raise StateError(
                    f"port {binding.port} of protocol {binding.protocol} cannot be published"
                )
            host_ip = _host_ip(binding.host_ip)
            known = kept.get((binding.port, protocol))
            last = max(binding.host_port, binding.host_port_end)
            numbers = range(binding.host_port, last + 1)
            if known is not None and (known.host_port in numbers or not binding.host_port):
                found.append(known)
                continue
            port = _free_port(protocol, host_ip, numbers, taken)
            taken.add((port, protocol))
            found.append(PublishedPort(port, binding.port, protocol, host_ip))
        return tuple(found)

    async def clear_stale(self, network: Network, address: IpAddress | None) -> None:
        """Remove the endpoint that has an address here, if its sandbox is gone."""
        holder = None if address is None else self.holder_of(network, address)
        if holder is not None and holder.lent and not await self.is_there(holder):
            await self.remove(holder)
            _log.warning(
                "an endpoint without a sandbox had an address that is asked for; removed",
                {"endpoint": holder.name, "address": address},
            )

    async def is_there(self, endpoint: Endpoint) -> bool:
        """Whether its sandbox exists; one that is in none may be on its way."""
        if endpoint.sandbox is None:
            return endpoint.state is not EndpointState.CREATED
        try:
            await self._host.check_sandbox(endpoint.sandbox.path)
        except VxnetError:
            return False
        return True

    async def _create(
        self, message: CreateEndpoint, asked: Interface, docker: DockerNetwork, network: Network
    ) -> Endpoint:
        name = message.endpoint[:12]
        addresses = tuple(_interface(text) for text in (asked.address, asked.address_ipv6) if text)
        own = {ipaddress.ip_network(p.prefix).version for p in self._ledger.pools_of(docker.id)}
        leased: list[IpInterface] = []
        try:
            for address in addresses:
                # A swarm's are handed out by it; those of our IPAM driver are held already.
                if not docker.swarm and address.version not in own:
                    await self.clear_stale(network, address.ip)
                    prefix = _prefix_of(network, address)
                    leased.append(await self._lease(network, prefix, name, address.ip))
            endpoint = await self._endpoints.create(
                EndpointRequest(
                    network.name,
                    name,
                    mac=parse_mac(asked.mac) if asked.mac else _mac_of(network, addresses),
                    id=endpoint_id(message.endpoint),
                    leased=addresses or None,
                    lent=True,
                )
            )
        except BaseException:
            await self._addresses.release(network.id, tuple(leased))
            raise
        await self._addresses.resume(network, endpoint)  # held by its name from now on
        return endpoint

    async def _lease(
        self, network: Network, prefix: IpNetwork, name: str, address: IpAddress
    ) -> IpInterface:
        """Hold an address that Docker's own IPAM chose, which knows this host only."""
        try:
            return await self._addresses.lease(network, prefix, name, address)
        except StateError as error:
            raise StateError(
                f"{error}; addresses that fit all hosts come with a network that was created "
                "with --ipam-driver vxnet"
            ) from None

    async def _settle(self, endpoint: EndpointId) -> None:
        """dockerd moves the device after it was answered; look after it when it is there."""
        loop = asyncio.get_running_loop()
        until = loop.time() + ARRIVES_WITHIN_S
        reason: VxnetError | None = None
        while loop.time() < until:
            await asyncio.sleep(LOOK_EVERY_S)
            if self._endpoints.find(endpoint) is None:
                return
            try:
                if await self._endpoints.settle(endpoint) is not None:
                    return
            except VxnetError as error:
                reason = error
        _log.warning("a device did not arrive", {"endpoint": endpoint[:12], "reason": reason})


def read_ports(options: Mapping[str, Any] | None) -> list[PortBinding]:
    """What `-p` asked for. Raises StateError."""
    bindings = (options or {}).get(PORT_MAP) or []
    try:
        found = msgspec.convert(bindings, list[PortBinding])
    except msgspec.ValidationError as error:
        raise StateError(f"the ports to publish cannot be read: {error}") from None
    if len(found) > BINDINGS_MAX:
        raise StateError(f"{len(found)} ports to publish, at most {BINDINGS_MAX} are possible")
    return found


def _free_port(
    protocol: str, host_ip: IpAddress | None, wanted: range, taken: set[tuple[int, str]]
) -> int:
    """A port of the host that nobody has: the first of those wanted, or the system's choice."""
    for number in wanted:
        if (number, protocol) not in taken and (found := _try_port(protocol, host_ip, number)):
            return found
    ports = f"{wanted[0]}" if len(wanted) == 1 else f"{wanted[0]}-{wanted[-1]}"
    raise StateError(f"port {ports}/{protocol} of this host is in use; publish another")


def _try_port(protocol: str, host_ip: IpAddress | None, number: int) -> int | None:
    """The number, or the one the system chooses for 0, if nobody listens there."""
    family = socket.AF_INET6 if host_ip is not None and host_ip.version == 6 else socket.AF_INET
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, kind == socket.SOCK_STREAM)
        try:
            probe.bind((str(host_ip or ""), number))
        except OSError:
            return None
        chosen: int = probe.getsockname()[1]
        return chosen


def _host_ip(text: str) -> IpAddress | None:
    try:
        address = ipaddress.ip_address(text) if text else None
    except ValueError:
        raise StateError(f"{text!r} is not an address of this host") from None
    return None if address is None or address.is_unspecified else address


def _mac_of(network: Network, addresses: tuple[IpInterface, ...]) -> Mac | None:
    """The next container with an address has its MAC, too, so that what others know stays true."""
    if not addresses:
        return None
    return derive_mac(network.id, EndpointId(str(addresses[0].ip)))


def _interface(text: str) -> IpInterface:
    try:
        return ipaddress.ip_interface(text)
    except ValueError:
        raise StateError(f"{text!r} is not an address with its length") from None


def _prefix_of(network: Network, address: IpInterface) -> IpNetwork:
    for subnet in network.subnets:
        if address.ip in subnet.prefix:
            return subnet.prefix
    have = ", ".join(str(subnet.prefix) for subnet in network.subnets) or "no subnet"
    raise StateError(f"{address.ip} is outside network {network.name}, which has {have}")


def _by_version(addresses: tuple[IpInterface, ...]) -> dict[int, str]:
    return {address.version: str(address) for address in addresses}
