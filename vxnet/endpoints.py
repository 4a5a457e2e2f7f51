"""The verbs of endpoints: create, join, leave, remove, and attach and detach, which do two each.

Check, save, drive, undo on failure; the table in `cnm.lifecycle` says which verb fits which state.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from random import Random
from typing import Final

from vxnet.addresses import Addresses
from vxnet.cnm.lifecycle import Verb, transition
from vxnet.cnm.model import (
    Endpoint,
    EndpointId,
    EndpointState,
    IpAddress,
    IpInterface,
    Network,
    PublishedPort,
    Sandbox,
    SandboxKind,
    derive_mac,
    device_name,
)
from vxnet.errors import StateError
from vxnet.host.base import HostNetwork
from vxnet.network_table import NetworkTable
from vxnet.networks import Networks, check_name
from vxnet.plumbing import PRIORITY_MAX, Plumbing
from vxnet.registry import ID_DIGITS_SHOWN, Registry
from vxnet.wire.addr import Mac, format_mac, is_group

__all__ = ["EndpointRequest", "Endpoints"]

PUBLISHING: Final = frozenset({"bridge"})
FOR_VMS: Final = frozenset({"overlay"})
IFNAME: Final = re.compile(r"[^\s/:]{1,15}")


@dataclass(frozen=True, slots=True)
class EndpointRequest:
    """What somebody wants an endpoint to be; what is None or empty is chosen."""

    network: str
    name: str = ""
    addresses: tuple[IpAddress, ...] = ()
    mac: Mac | None = None
    published: tuple[PublishedPort, ...] = ()
    priority: int = 0
    id: EndpointId | None = None
    leased: tuple[IpInterface, ...] | None = None
    """Addresses that whoever asks holds already; then none is handed out."""
    lent: bool = False
    aliases: tuple[str, ...] = ()
    services: tuple[str, ...] = ()


class Endpoints:
    """The endpoints of this host, as people and programs ask for them."""

    def __init__(
        self,
        table: NetworkTable,
        networks: Networks,
        addresses: Addresses,
        registry: Registry,
        plumbing: Plumbing,
        host: HostNetwork,
        *,
        now_ms: Callable[[], int],
        random: Random,
    ) -> None:
        self._turns = table.turns
        self._coming: dict[EndpointId, Endpoint] = {}
        """As they will be when the verb that is under way is done."""
        self._networks = networks
        self._addresses = addresses
        self._registry = registry
        self._plumbing = plumbing
        self._host = host
        self._now_ms = now_ms
        self._random = random
        table.users.append(
            lambda network: [f"endpoint {e.name}" for e in registry.of_network(network.id)]
        )

    def __iter__(self) -> Iterator[Endpoint]:
        """All endpoints, oldest first."""
        return iter(self._registry)

    def get(self, name: str) -> Endpoint:
        """The endpoint of this name, or whose id starts so. Raises StateError."""
        return self._registry.get(name)

    def find(self, endpoint: EndpointId) -> Endpoint | None:
        """The endpoint of this id, as it is now."""
        return self._registry.find(endpoint)

    def in_sandbox(self, network: str, sandbox: Sandbox) -> Endpoint:
        """The endpoint that a sandbox has in a network. Raises StateError where it has none."""
        wanted = self._networks.get(network)
        for endpoint in self._registry.of_network(wanted.id):
            if endpoint.sandbox == sandbox:
                return endpoint
        raise StateError(f"{sandbox} has no endpoint in network {wanted.name}")

    def is_absent(self, endpoint: Endpoint) -> bool:
        """Whether its sandbox was not there when it should have been put into it."""
        return endpoint.id in self._registry.absent

    async def create(self, request: EndpointRequest) -> Endpoint:
        """Make an endpoint that is in no sandbox yet. Raises StateError for what does not fit."""
        request = replace(request, id=request.id or self._new_id())
        async with self._turns.of(request.id), AsyncExitStack() as undo:
            endpoint = await self._create(request, undo, EndpointState.CREATED)
            undo.pop_all()
            return endpoint

    async def attach(
        self, request: EndpointRequest, sandbox: Sandbox, ifname: str = "eth0"
    ) -> Endpoint:
        """Make an endpoint and join it to a sandbox: both or nothing."""
        request = replace(request, id=request.id or self._new_id())
        async with self._turns, AsyncExitStack() as undo:
            await self._check_join(self._networks.get(request.network), sandbox, ifname)
            endpoint = await self._create(request, undo, EndpointState.CREATING, sandbox, ifname)
            await self._plumbing.join(endpoint)
            undo.push_async_callback(self._plumbing.unmake, endpoint)
            endpoint = await self._registry.keep(endpoint, EndpointState.JOINED)
            undo.pop_all()
            return endpoint

    async def join(self, name: str, sandbox: Sandbox, ifname: str = "eth0") -> Endpoint:
        """Put an endpoint into a sandbox. Once it is there, asking again changes nothing."""
        async with self._turns:
            endpoint = self.get(name)
            if endpoint.sandbox == sandbox and endpoint.ifname == ifname:
                return endpoint
            if transition(endpoint.state, Verb.JOIN) is None:
                where = endpoint.sandbox or "another step of its life"
                raise StateError(f"endpoint {endpoint.name} is in {where}; leave it first")
            await self._check_join(self._plumbing.network_of(endpoint), sandbox, ifname)
            self._check_addresses(endpoint)
            return await self._join(endpoint, replace(endpoint, sandbox=sandbox, ifname=ifname))

    async def leave(self, name: str) -> Endpoint:
        """Take an endpoint out of its sandbox; it keeps its name, MAC and addresses."""
        async with self._turns:
            endpoint = self.get(name)
            if transition(endpoint.state, Verb.LEAVE) is None:
                return endpoint
            self._registry.absent.discard(endpoint.id)
            return await self._plumbing.part(endpoint)

    async def lend(self, name: str, sandbox: Sandbox) -> str:
        """Make an endpoint's device for another to put into the sandbox; returns what it is here.

        Once it was lent, asking again changes nothing.
        """
        async with self._turn(name) as endpoint:
            if endpoint.state is EndpointState.JOINED and endpoint.sandbox == sandbox:
                return device_name(endpoint.id)
            if transition(endpoint.state, Verb.JOIN) is None:
                where = endpoint.sandbox or "another step of its life"
                raise StateError(f"endpoint {endpoint.name} is in {where}; leave it first")
            self._check_addresses(endpoint)
            joining = replace(endpoint, sandbox=sandbox, ifname="", lent=True)
            # Until it is saved as joined, a crash has the next daemon remove the device: one that
            # was created only has none.
            device = await self._plumbing.lend(joining)
            if device is None:
                raise StateError(f"endpoint {endpoint.name} has no device to lend")
            try:
                await self._registry.keep(joining, EndpointState.JOINED)
            except BaseException:
                await self._plumbing.unmake(joining)
                raise
            return device

    async def settle(self, name: str) -> Endpoint | None:
        """Look after a device that was lent from now on; None while it has not arrived."""
        async with self._turn(name) as endpoint:
            if endpoint.ifname or not endpoint.lent or endpoint.state is not EndpointState.JOINED:
                return endpoint
            return await self._plumbing.settle(endpoint)

    async def take_back(self, name: str) -> Endpoint:
        """An endpoint that was lent leaves; its device is taken out of the sandbox by another."""
        async with self._turn(name) as endpoint:
            if transition(endpoint.state, Verb.LEAVE) is None:
                return endpoint
            self._registry.absent.discard(endpoint.id)
            return await self._plumbing.take_back(endpoint)

    async def publish(self, name: str, ports: tuple[PublishedPort, ...]) -> Endpoint:
        """Note which ports of the host lead to an endpoint."""
        async with self._turn(name) as endpoint:
            return await self._registry.keep(replace(endpoint, published=ports), endpoint.state)

    async def rename(self, name: str, wanted: str) -> None:
        """Call an endpoint otherwise. Raises StateError where the name is taken."""
        check_name("endpoint", wanted)
        async with self._turn(name) as endpoint:
            renamed = replace(endpoint, name=wanted)
            if any(e.name == wanted and e.id != endpoint.id for e in self._known()):
                raise StateError(f"this host already has an endpoint {wanted}")
            with self._under_way(renamed):
                await self._registry.keep(renamed, endpoint.state)

    async def describe(
        self, name: str, aliases: tuple[str, ...], services: tuple[str, ...]
    ) -> Endpoint:
        """Say what else an endpoint is called, and what it is a member of."""
        for alias in aliases:
            check_name("alias", alias)
        for service in services:
            check_name("service", service)
        async with self._turn(name) as endpoint:
            described = replace(endpoint, aliases=aliases, services=services)
            return await self._registry.keep(described, endpoint.state)

    async def remove(self, name: str) -> Endpoint:
        """Remove an endpoint, from its sandbox too."""
        async with self._turn(name) as endpoint:
            await self._plumbing.discard(endpoint)
            await self._addresses.release(endpoint.network, endpoint.addresses)
            return endpoint

    async def _create(
        self,
        request: EndpointRequest,
        undo: AsyncExitStack,
        state: EndpointState,
        sandbox: Sandbox | None = None,
        ifname: str = "",
    ) -> Endpoint:
        """An endpoint with addresses and no device, saved in this state."""
        network = self._networks.get(request.network)
        endpoint = replace(self._plan(network, request), sandbox=sandbox, ifname=ifname)
        addresses = request.leased
        with self._under_way(endpoint):
            if addresses is None:
                wanted = request.addresses
                addresses = await self._addresses.allocate(network, wanted, endpoint.name)
                undo.push_async_callback(self._addresses.release, network.id, addresses)
            endpoint = await self._registry.keep(replace(endpoint, addresses=addresses), state)
        undo.push_async_callback(self._registry.drop, endpoint.id)
        return endpoint

    @asynccontextmanager
    async def _turn(self, name: str) -> AsyncIterator[Endpoint]:
        """A turn of one endpoint, beside those of others. Raises StateError where it is gone."""
        endpoint = self.get(name).id
        async with self._turns.of(endpoint):
            yield self.get(endpoint)

    @contextmanager
    def _under_way(self, endpoint: Endpoint) -> Iterator[None]:
        self._coming[endpoint.id] = endpoint
        try:
            yield
        finally:
            del self._coming[endpoint.id]

    def _known(self) -> Iterator[Endpoint]:
        return chain(self._registry, self._coming.values())

    def _new_id(self) -> EndpointId:
        return EndpointId(f"{self._random.getrandbits(128):032x}")

    async def _join(self, before: Endpoint, endpoint: Endpoint) -> Endpoint:
        await self._registry.keep(endpoint, EndpointState.JOINING)
        try:
            await self._plumbing.join(endpoint)
            return await self._registry.keep(endpoint, EndpointState.JOINED)
        except BaseException:
            await self._plumbing.unmake(endpoint)
            await self._registry.keep(before, before.state)
            raise

    def _plan(self, network: Network, request: EndpointRequest) -> Endpoint:
        endpoint_id = request.id or self._new_id()
        name = request.name or endpoint_id[:ID_DIGITS_SHOWN]
        check_name("endpoint", name)
        if any(e.name == name for e in self._known()):
            raise StateError(f"this host already has an endpoint {name}")
        if not 0 <= request.priority <= PRIORITY_MAX:
            raise StateError(f"a priority of {request.priority}: it is 0 to {PRIORITY_MAX}")
        if request.published and network.driver not in PUBLISHING:
            raise StateError(
                f"a {network.driver} network publishes no ports; attach the sandbox to a bridge "
                "network too, and publish there"
            )
        for alias in request.aliases:
            check_name("alias", alias)
        mac = request.mac or derive_mac(network.id, endpoint_id)
        if is_group(mac) or not any(mac):
            raise StateError(
                f"{format_mac(mac)} cannot be a station's MAC; its first octet has to be even"
            )
        for other in self._known():
            if other.network == network.id and other.mac == mac:
                raise StateError(f"{format_mac(mac)} is taken by endpoint {other.name}")
        return Endpoint(
            endpoint_id,
            name,
            network.id,
            mac,
            state=EndpointState.CREATING,
            created_ms=self._now_ms(),
            published=request.published,
            priority=request.priority,
            lent=request.lent,
            aliases=request.aliases,
            services=request.services,
        )

    def _check_addresses(self, endpoint: Endpoint) -> None:
        lost = set(self._addresses.lost())
        for address in endpoint.addresses:
            if (endpoint.network, address.ip) in lost:
                raise StateError(
                    f"{address.ip} of endpoint {endpoint.name} belongs to another host by now; "
                    f"remove the endpoint, and attach it anew"
                )

    async def _check_join(self, network: Network, sandbox: Sandbox, ifname: str) -> None:
        if sandbox.kind is SandboxKind.TAP and network.driver not in FOR_VMS:
            raise StateError(
                f"a {network.driver} network makes no TAP for a virtual machine; an overlay does"
            )
        if not IFNAME.fullmatch(ifname) or ifname in (".", ".."):
            raise StateError(
                f"{ifname!r} cannot be an interface's name; it has 1 to 15 characters, "
                "no space, slash or colon"
            )
        await self._host.check_sandbox(sandbox.path)
