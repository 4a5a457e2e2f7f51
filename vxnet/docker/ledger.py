"""What Docker was told and does not tell again: its networks and pools, saved.

After a restart of dockerd no CreateNetwork and no RequestPool comes again.
"""

from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from vxnet.errors import UNREADABLE, HostError
from vxnet.host.base import Store

__all__ = ["DockerNetwork", "DockerPool", "Ledger"]

NETWORKS: Final = "docker-network"
POOLS: Final = "docker-pool"

T = TypeVar("T", bound=Struct)


class DockerNetwork(Struct, frozen=True, kw_only=True):
    """A network as Docker has it. Fields are only ever appended."""

    id: str
    name: str = ""
    """The vxnet network that it is; "" while nobody knows."""
    subnets: tuple[tuple[str, str], ...] = ()
    """Prefix and gateway, of those that were asked for."""
    vni: int | None = None
    mtu: int | None = None
    options: dict[str, str] = {}
    internal: bool = False
    swarm: bool = False
    """Whether its addresses are handed out by Docker's swarm, for all hosts."""
    reserved: tuple[str, ...] = ()
    """Addresses that nobody gets (`--aux-address`)."""
    problem: str = ""
    """Why it cannot be used."""


class DockerPool(Struct, frozen=True, kw_only=True):
    """A subnet that Docker's endpoints get addresses of. Fields are only ever appended."""

    id: str
    prefix: str
    """0.0.0.0/0 or ::/0: that of the network, which is not known yet."""
    within: str = ""
    """The part of it that addresses are taken from (`--ip-range`)."""
    gateway: str = ""
    reserved: tuple[str, ...] = ()
    name: str = ""
    """The vxnet network that was named with it."""
    network: str = ""
    """The Docker network that has it; "" until that is made."""
    made_ms: int = 0


class Ledger:
    """In memory as it is on disk."""

    def __init__(self, store: Store) -> None:
        self.networks: dict[str, DockerNetwork] = {}
        self.pools: dict[str, DockerPool] = {}
        self._store = store

    async def load(self) -> None:
        """Read what was saved. Raises HostError where it is damaged."""
        for key, value in await self._store.rows(NETWORKS):
            self.networks[key] = _read(value, DockerNetwork, f"Docker's network {key}")
        for key, value in await self._store.rows(POOLS):
            self.pools[key] = _read(value, DockerPool, f"Docker's pool {key}")

    async def keep_network(self, network: DockerNetwork) -> DockerNetwork:
        """Save a network as it is now."""
        if self.networks.get(network.id) != network:
            await self._store.put(NETWORKS, network.id, msgspec.json.encode(network))
            self.networks[network.id] = network
        return network

    async def drop_network(self, network: str) -> None:
        """Forget a network. Idempotent."""
        await self._store.delete(NETWORKS, network)
        self.networks.pop(network, None)

    async def keep_pool(self, pool: DockerPool) -> DockerPool:
        """Save a pool as it is now."""
        if self.pools.get(pool.id) != pool:
            await self._store.put(POOLS, pool.id, msgspec.json.encode(pool))
            self.pools[pool.id] = pool
        return pool

    async def drop_pool(self, pool: str) -> None:
        """Forget a pool. Idempotent."""
        await self._store.delete(POOLS, pool)
        self.pools.pop(pool, None)

    def pools_of(self, network: str) -> list[DockerPool]:
        """The pools that a Docker network has; none where its addresses are Docker's own."""
        return [pool for pool in self.pools.values() if pool.network == network]


def _read(value: bytes, kind: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(value, type=kind)
    except UNREADABLE as error:
        raise HostError(f"what was saved of {what} is damaged: {error}") from None
