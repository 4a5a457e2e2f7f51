"""libnetwork's remote IPAM driver: pools and addresses that no two hosts hand out twice."""

import ipaddress
import secrets
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from vxnet.addresses import Addresses
from vxnet.cnm.libnetwork import (
    GATEWAY_REQUEST,
    REQUEST_TYPE,
    AddressAnswer,
    AddressRelease,
    AddressRequest,
    AddressSpaces,
    IpamCapabilities,
    PoolAnswer,
    PoolRelease,
    PoolRequest,
)
from vxnet.cnm.model import IpAddress, IpInterface, IpNetwork, Network
from vxnet.cnm.subnets import choose_subnets
from vxnet.docker.endpoints import DockerEndpoints
from vxnet.docker.ledger import DockerPool, Ledger
from vxnet.docker.networks import DockerNetworks, places_of
from vxnet.docker.options import read_pool_name
from vxnet.errors import StateError
from vxnet.host.base import HostNetwork
from vxnet.networks import Networks

__all__ = ["IpamDriver"]

MAC_OPTION: Final = "com.docker.network.endpoint.macaddress"
OPEN: Final = {4: "0.0.0.0/0", 6: "::/0"}
"""The pool of a network whose name, and so whose subnet, is not known yet. dockerd takes it as it
does its own null driver's: it checks nothing against it."""
WAITING: Final = "docker "
"""What the holder of an address is called before there is its endpoint."""
CLAIMED_WITHIN_MS: Final = 10_000
"""A pool that has no network by then belongs to a dockerd that ended meanwhile."""


class IpamDriver:
    """Answers dockerd's questions for addresses."""

    def __init__(
        self,
        ledger: Ledger,
        docker_networks: DockerNetworks,
        endpoints: DockerEndpoints,
        networks: Networks,
        addresses: Addresses,
        host: HostNetwork,
        now_ms: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._docker_networks = docker_networks
        self._endpoints = endpoints
        self._networks = networks
        self._addresses = addresses
        self._host = host
        self._now_ms = now_ms

    async def capabilities(self) -> IpamCapabilities:
        """dockerd would make MACs up; ours follow from the address, as its bridge driver's do."""
        return IpamCapabilities()

    async def address_spaces(self) -> AddressSpaces:
        """Names only; which networks share a subnet is not their business."""
        return AddressSpaces("vxnet", "vxnet")

    async def request_pool(self, request: PoolRequest) -> PoolAnswer:
        """The subnet that is asked for, or a named network's, or one to be known later."""
        version = 6 if request.v6 else 4
        name = read_pool_name(request.options)
        wanted = _network(request.pool) if request.pool else None
        within = _network(request.sub_pool) if request.sub_pool else None
        prefix = wanted
        known = next((n for n in self._networks if n.name == name), None) if name else None
        if known is not None:
            prefix = _subnet_of(known, version, wanted)
        elif name and wanted is None:
            prefix = await self._choose(name, version)
        text = OPEN[version] if prefix is None else str(prefix)
        if within is not None and (prefix is None or not _contains(prefix, within)):
            raise StateError(f"the range {within} is outside the subnet {text}")
        await self._check_single(text)
        gateway = self._stand_in(version) if prefix is None else ""
        pool = DockerPool(
            id=f"vxnet-{secrets.token_hex(8)}",
            prefix=text,
            within="" if within is None else str(within),
            gateway=gateway,
            name=name,
            made_ms=self._now_ms(),
        )
        await self._ledger.keep_pool(pool)
        return PoolAnswer(pool.id, text, {GATEWAY_REQUEST: f"{gateway}/0"} if gateway else {})

    async def release_pool(self, request: PoolRelease) -> None:
        """Idempotent."""
        await self._ledger.drop_pool(request.pool_id)

    async def request_address(self, request: AddressRequest) -> AddressAnswer:
        """An address of a pool; of the gateway and of those to be kept free, without a lease."""
        pool = self._pool(request.pool_id)
        options = request.options or {}
        if options.get(REQUEST_TYPE) == GATEWAY_REQUEST:
            return await self._gateway(pool, request.address)
        if not pool.network:
            return await self._reserve(pool, request.address)
        _, network = await self._docker_networks.of(pool.network)
        prefix = _subnet_of(network, _network(pool.prefix).version, _closed(pool))
        wanted = _address(request.address) if request.address else None
        holder = f"{WAITING}{options.get(MAC_OPTION, secrets.token_hex(6))}"
        held = self._held(network, prefix, holder)
        if held is None or wanted not in (None, held.ip):
            await self._endpoints.clear_stale(network, wanted)
            within = _network(pool.within) if pool.within and wanted is None else None
            held = await self._addresses.lease(network, prefix, holder, wanted, within)
        return AddressAnswer(str(held))

    async def release_unclaimed(self, before_ms: int) -> int:
        """Give back what no endpoint came for; returns how many addresses that were."""
        found = [
            lease
            for lease in self._addresses.leases()
            if lease.holder.startswith(WAITING)
            and not lease.in_grace
            and lease.since_ms < before_ms
            and self._addresses.is_own(lease)
        ]
        for lease in found:
            network = next((n for n in self._networks if n.id == lease.network), None)
            if network is not None:
                places = places_of(network, (str(lease.address),))
                await self._addresses.release(network.id, places)
        return len(found)

    async def release_address(self, request: AddressRelease) -> None:
        """Idempotent; what an endpoint has goes with the endpoint."""
        pool = self._ledger.pools.get(request.pool_id)
        if pool is None or not request.address or not pool.network:
            return
        docker = self._ledger.networks.get(pool.network)
        network = None if docker is None else self._named(docker.name)
        address = _address(request.address.partition("/")[0])
        if network is None or self._endpoints.holder_of(network, address) is not None:
            return
        if str(address) not in pool.reserved:
            await self._addresses.release(network.id, places_of(network, (str(address),)))

    def _pool(self, pool_id: str) -> DockerPool:
        pool = self._ledger.pools.get(pool_id)
        if pool is None:
            raise StateError(
                f"vxnet does not know the address pool {pool_id}; remove the network with "
                "docker network rm, and create it anew"
            )
        return pool

    async def _choose(self, name: str, version: int) -> IpNetwork:
        """The subnet a network of this name gets where nobody chose one."""
        known = [subnet.prefix for network in self._networks for subnet in network.subnets]
        chosen = choose_subnets(name, [*known, *await self._host.prefixes()])
        return next(s.prefix for s in chosen if s.prefix.version == version)

    async def _check_single(self, prefix: str) -> None:
        """dockerd asks again where a subnet does not suit it, and would go on for ever."""
        if prefix in OPEN.values():
            return
        for pool in list(self._ledger.pools.values()):
            if pool.prefix != prefix or pool.network:
                continue
            if self._now_ms() - pool.made_ms < CLAIMED_WITHIN_MS:
                raise StateError(
                    f"{prefix} overlaps a route of this host, or another network with it is being "
                    "made just now; name it with --subnet, or try again"
                )
            await self._ledger.drop_pool(pool.id)

    def _stand_in(self, version: int) -> str:
        """A gateway that tells pools apart whose subnet is not known yet; nobody ever has it."""
        taken = {pool.gateway for pool in self._ledger.pools.values()}
        numbers = (f"0.0.0.{n}" if version == 4 else f"::{n:x}" for n in range(1, 256))
        found = next((gateway for gateway in numbers if gateway not in taken), None)
        if found is None:
            raise StateError("more than 254 networks without --subnet; give this one a --subnet")
        return found

    async def _gateway(self, pool: DockerPool, address: str) -> AddressAnswer:
        prefix = _network(pool.prefix)
        known = self._named(pool.name)
        there = [s.gateway for s in known.subnets if s.prefix == prefix] if known else []
        gateway = _address(address) if address else (there[0] if there and there[0] else None)
        if gateway is None:
            gateway = prefix.network_address + 1
        if gateway not in prefix:
            raise StateError(f"the gateway {gateway} is outside {prefix}")
        await self._ledger.keep_pool(replace(pool, gateway=str(gateway)))
        return AddressAnswer(f"{gateway}/{prefix.prefixlen}")

    async def _reserve(self, pool: DockerPool, address: str) -> AddressAnswer:
        """Before there is a network, only addresses to be kept free are asked for."""
        if not address:
            raise StateError("an address is asked for before its network was made; try again")
        place = f"{_address(address)}/{_network(pool.prefix).prefixlen}"
        await self._ledger.keep_pool(replace(pool, reserved=(*pool.reserved, address)))
        return AddressAnswer(place)

    def _held(self, network: Network, prefix: IpNetwork, holder: str) -> IpInterface | None:
        """What somebody holds by an earlier request, if it still does."""
        for lease in self._addresses.leases():
            same = (lease.network, lease.holder) == (network.id, holder)
            if same and not lease.in_grace and lease.address in prefix:
                return ipaddress.ip_interface(f"{lease.address}/{prefix.prefixlen}")
        return None

    def _named(self, name: str) -> Network | None:
        return next((n for n in self._networks if n.name == name), None) if name else None


def _closed(pool: DockerPool) -> IpNetwork | None:
    return None if pool.prefix in OPEN.values() else _network(pool.prefix)


def _subnet_of(network: Network, version: int, wanted: IpNetwork | None) -> IpNetwork:
    """The subnet of a network that a pool is. Raises StateError where there is none."""
    fitting = [s.prefix for s in network.subnets if s.prefix.version == version]
    if wanted is not None and wanted not in fitting:
        have = ", ".join(map(str, fitting)) or f"no IPv{version} subnet"
        raise StateError(f"network {network.name} has {have}, not {wanted}; leave out --subnet")
    if not fitting:
        raise StateError(f"network {network.name} has no IPv{version} subnet")
    return fitting[0] if wanted is None else wanted


def _contains(prefix: IpNetwork, part: IpNetwork) -> bool:
    return prefix.version == part.version and (
        part.network_address in prefix and part.broadcast_address in prefix
    )


def _network(text: str) -> IpNetwork:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise StateError(f"{text!r} is not a subnet; write it like 10.9.0.0/24") from None


def _address(text: str) -> IpAddress:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise StateError(f"{text!r} is not an IP address") from None
