"""The verbs of endpoints: create, join, leave, remove, and attach and detach, which do two each.

Check, save, drive, undo on failure: what is saved first is marked unfinished, so that a crash
leaves nothing that the next start would not take back.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from vxnet.addresses import Addresses
from vxnet.cnm.driver import NetworkDriver
from vxnet.cnm.model import (
    Endpoint,
    EndpointId,
    EndpointState,
    IpAddress,
    Network,
    Sandbox,
    derive_mac,
)
from vxnet.cnm.saved import read_endpoint, write_endpoint
from vxnet.errors import HostError, StateError, VxnetError
from vxnet.host.base import HostNetwork, Interface, Store
from vxnet.networks import Networks, check_name
from vxnet.wire.addr import Mac, format_mac, is_group

__all__ = ["EndpointRequest", "Endpoints"]

TABLE: Final = "endpoint"
IFNAME: Final = re.compile(r"[^\s/:]{1,15}")
IDS_SHOWN: Final = 12
DRIVEN_BY: Final = ("id", "driver", "vni", "mtu", "options")
"""The settings of a network that its endpoints' devices are made by."""


@dataclass(frozen=True, slots=True)
class EndpointRequest:
    """What somebody wants an endpoint to be; what is None or empty is chosen."""

    network: str
    name: str = ""
    addresses: tuple[IpAddress, ...] = ()
    mac: Mac | None = None


class Endpoints:
    """The endpoints of this host."""

    def __init__(
        self,
        networks: Networks,
        addresses: Addresses,
        host: HostNetwork,
        store: Store,
        *,
        now_ms: Callable[[], int],
        random: Random,
    ) -> None:
        self._networks = networks
        self._addresses = addresses
        self._host = host
        self._store = store
        self._now_ms = now_ms
        self._random = random
        self._endpoints: dict[EndpointId, Endpoint] = {}
        self._absent: set[EndpointId] = set()
        self._verb = networks.verb
        networks.add_users(self._users_of)
        networks.watch(self._follow)

    def __iter__(self) -> Iterator[Endpoint]:
        """All endpoints, oldest first."""
        return iter(sorted(self._endpoints.values(), key=lambda e: (e.created_ms, e.id)))

    def get(self, name: str) -> Endpoint:
        """The endpoint of this name, or whose id starts so. Raises StateError."""
        by_name = [e for e in self._endpoints.values() if e.name == name]
        by_id = [e for e in self._endpoints.values() if len(name) >= 4 and e.id.startswith(name)]
        found = by_name or by_id
        if not found:
            raise StateError(f"this host has no endpoint {name}; see: vxnet endpoint ls")
        if len(found) > 1:
            ids = ", ".join(sorted(e.id[:IDS_SHOWN] for e in found))
            raise StateError(f"{name} may be any of the endpoints {ids}; write more of the id")
        return found[0]

    def is_absent(self, endpoint: Endpoint) -> bool:
        """Whether its sandbox was not there when it should have been put into it."""
        return endpoint.id in self._absent

    async def create(self, request: EndpointRequest) -> Endpoint:
        """Make an endpoint that is in no sandbox yet. Raises StateError for what does not fit."""
        async with self._verb, AsyncExitStack() as undo:
            endpoint = await self._create(request, undo)
            undo.pop_all()
            return endpoint

    async def attach(
        self, request: EndpointRequest, sandbox: Sandbox, ifname: str = "eth0"
    ) -> Endpoint:
        """Make an endpoint and join it to a sandbox: both or nothing."""
        async with self._verb, AsyncExitStack() as undo:
            await self._check_join(sandbox, ifname)
            endpoint = await self._create(request, undo)
            endpoint = await self._join(endpoint, sandbox, ifname, undo)
            undo.pop_all()
            return endpoint

    async def join(self, name: str, sandbox: Sandbox, ifname: str = "eth0") -> Endpoint:
        """Put an endpoint into a sandbox. Once it is there, asking again changes nothing."""
        async with self._verb, AsyncExitStack() as undo:
            endpoint = self.get(name)
            if endpoint.sandbox == sandbox and endpoint.ifname == ifname:
                return endpoint
            if endpoint.sandbox is not None:
                raise StateError(
                    f"endpoint {endpoint.name} is in {endpoint.sandbox}; leave it first"
                )
            await self._check_join(sandbox, ifname)
            endpoint = await self._join(endpoint, sandbox, ifname, undo)
            undo.pop_all()
            return endpoint

    async def leave(self, name: str) -> Endpoint:
        """Take an endpoint out of its sandbox; it keeps its name, MAC and addresses."""
        async with self._verb:
            endpoint = self.get(name)
            if endpoint.sandbox is None:
                return endpoint
            network = self._network_of(endpoint)
            driver = self._networks.driver(network)
            await driver.leave(network, endpoint)
            # Its device goes with the old link, and a new one waits on the host.
            await driver.delete_endpoint(network, endpoint)
            endpoint = replace(endpoint, state=EndpointState.CREATED, sandbox=None, ifname="")
            await self._keep(endpoint)
            await driver.create_endpoint(network, endpoint)
            return endpoint

    async def remove(self, name: str) -> Endpoint:
        """Remove an endpoint, from its sandbox too."""
        async with self._verb:
            endpoint = self.get(name)
            network = self._network_of(endpoint)
            driver = self._networks.driver(network)
            await driver.leave(network, endpoint)
            await driver.delete_endpoint(network, endpoint)
            await self._drop(endpoint)
            self._addresses.release(endpoint.network, endpoint.addresses)
            return endpoint

    async def load(self, report: Callable[[VxnetError], None]) -> None:
        """Take up the endpoints from before a restart, each as far as its sandbox is there."""
        for key, value in await self._store.rows(TABLE):
            try:
                endpoint = read_endpoint(value)
            except ValueError as error:
                raise HostError(f"what was saved of endpoint {key} is damaged: {error}") from None
            if endpoint.state is EndpointState.CREATING:
                await self._store.delete(TABLE, key)
                continue
            self._endpoints[endpoint.id] = endpoint
            self._addresses.resume(endpoint)
            try:
                await self._revive(endpoint)
            except VxnetError as error:
                report(error)

    async def tend(self) -> None:
        """Put endpoints into sandboxes that came back."""
        for endpoint_id in list(self._absent):
            async with self._verb:
                endpoint = self._endpoints.get(endpoint_id)
                if endpoint is not None and await self._is_there(endpoint.sandbox):
                    await self._revive(endpoint)

    async def close(self) -> None:
        """Take every device away, and keep what is saved for the next start."""
        async with self._verb:
            for endpoint in self:
                network = self._networks.by_id(endpoint.network)
                if network is not None:
                    await self._networks.driver(network).delete_endpoint(network, endpoint)

    async def _create(self, request: EndpointRequest, undo: AsyncExitStack) -> Endpoint:
        network = self._networks.get(request.network)
        driver = self._networks.driver(network)
        endpoint = self._plan(network, request)
        addresses = self._addresses.allocate(network, request.addresses, endpoint.name)
        undo.callback(self._addresses.release, network.id, addresses)
        endpoint = replace(endpoint, addresses=addresses)
        await self._keep(endpoint)
        undo.push_async_callback(self._drop, endpoint)
        await driver.create_endpoint(network, endpoint)
        undo.push_async_callback(driver.delete_endpoint, network, endpoint)
        endpoint = replace(endpoint, state=EndpointState.CREATED)
        await self._keep(endpoint)
        return endpoint

    async def _join(
        self, endpoint: Endpoint, sandbox: Sandbox, ifname: str, undo: AsyncExitStack
    ) -> Endpoint:
        network = self._network_of(endpoint)
        driver = self._networks.driver(network)
        joined = replace(endpoint, state=EndpointState.JOINED, sandbox=sandbox, ifname=ifname)
        undo.push_async_callback(self._recreate, driver, network, endpoint)
        await self._place(driver, network, joined)
        await self._keep(joined)
        return joined

    async def _place(self, driver: NetworkDriver, network: Network, endpoint: Endpoint) -> None:
        """Let the traffic flow, and move the device into the sandbox."""
        attachment = await driver.join(network, endpoint)
        if attachment.device is None or endpoint.sandbox is None:
            return
        interface = Interface(
            endpoint.ifname,
            endpoint.mac,
            attachment.mtu,
            endpoint.addresses,
            attachment.gateways,
            attachment.gso_max_bytes,
        )
        try:
            await self._host.place(attachment.device, endpoint.sandbox.path, interface)
        except BaseException:
            await driver.leave(network, endpoint)
            raise

    async def _recreate(self, driver: NetworkDriver, network: Network, endpoint: Endpoint) -> None:
        """An endpoint that did not join keeps a fresh device on the host."""
        await driver.delete_endpoint(network, endpoint)
        await driver.create_endpoint(network, endpoint)
        await self._keep(endpoint)

    async def _revive(self, endpoint: Endpoint) -> None:
        """Make a saved endpoint real again."""
        network = self._networks.by_id(endpoint.network)
        if network is None:
            raise StateError(
                f"the network of endpoint {endpoint.name} is gone; remove it with: "
                f"vxnet endpoint rm {endpoint.name}"
            )
        driver = self._networks.driver(network)
        await driver.create_endpoint(network, endpoint)
        if endpoint.sandbox is None:
            return
        if not await self._is_there(endpoint.sandbox):
            self._absent.add(endpoint.id)
            raise StateError(
                f"endpoint {endpoint.name} waits for its sandbox, {endpoint.sandbox}, to come back"
            )
        self._absent.discard(endpoint.id)
        try:
            await self._place(driver, network, endpoint)
        except VxnetError:
            await self._recreate(driver, network, endpoint)
            raise

    async def _follow(self, before: Network, now: Network) -> None:
        """A network's settings changed: its endpoints here are made anew under those.

        Called while the networks hold the lock.
        """
        if all(getattr(before, name) == getattr(now, name) for name in DRIVEN_BY):
            return
        driver = self._networks.driver(now)
        for endpoint in [e for e in self if e.network in (before.id, now.id)]:
            await driver.leave(before, endpoint)
            await driver.delete_endpoint(before, endpoint)
            moved = replace(endpoint, network=now.id)
            await self._keep(moved)
            await self._revive(moved)

    def _plan(self, network: Network, request: EndpointRequest) -> Endpoint:
        endpoint_id = EndpointId(f"{self._random.getrandbits(128):032x}")
        name = request.name or endpoint_id[:IDS_SHOWN]
        check_name("endpoint", name)
        if any(e.name == name for e in self._endpoints.values()):
            raise StateError(f"this host already has an endpoint {name}")
        mac = request.mac or derive_mac(network.id, endpoint_id)
        if is_group(mac) or not any(mac):
            raise StateError(
                f"{format_mac(mac)} cannot be a station's MAC; its first octet is even"
            )
        for other in self._endpoints.values():
            if other.mac == mac and other.network == network.id:
                raise StateError(f"{format_mac(mac)} is taken by endpoint {other.name}")
        return Endpoint(
            endpoint_id,
            name,
            network.id,
            mac,
            state=EndpointState.CREATING,
            created_ms=self._now_ms(),
        )

    async def _check_join(self, sandbox: Sandbox, ifname: str) -> None:
        if not IFNAME.fullmatch(ifname) or ifname in (".", ".."):
            raise StateError(
                f"{ifname!r} cannot be an interface's name; it has 1 to 15 characters, "
                "no space, slash or colon"
            )
        await self._host.check_sandbox(sandbox.path)

    async def _is_there(self, sandbox: Sandbox | None) -> bool:
        if sandbox is None:
            return False
        try:
            await self._host.check_sandbox(sandbox.path)
        except StateError:
            return False
        return True

    def _network_of(self, endpoint: Endpoint) -> Network:
        network = self._networks.by_id(endpoint.network)
        if network is None:
            raise StateError(f"the network of endpoint {endpoint.name} is gone")
        return network

    def _users_of(self, network: Network) -> list[str]:
        return [f"endpoint {e.name}" for e in self if e.network == network.id]

    async def _keep(self, endpoint: Endpoint) -> None:
        await self._store.put(TABLE, endpoint.id, write_endpoint(endpoint))
        self._endpoints[endpoint.id] = endpoint

    async def _drop(self, endpoint: Endpoint) -> None:
        self._endpoints.pop(endpoint.id, None)
        self._absent.discard(endpoint.id)
        await self._store.delete(TABLE, endpoint.id)
