"""Docker's networks on this host, and which network of vxnet each of them is.

dockerd tells a plugin a network's id and subnets, not its name. A network is called like Docker's,
so where nobody says `-o network=NAME` it is made, or found in the catalogue, as soon as Docker's
API told its name, which is asked after the call was answered, never within it.
"""

import asyncio
import contextlib
import ipaddress
from typing import Final

from msgspec.structs import replace

from vxnet.addresses import Addresses
from vxnet.cnm.libnetwork import INTERNAL, CreateNetwork, IpamData
from vxnet.cnm.model import IpInterface, IpNetwork, Network, Subnet
from vxnet.docker.ledger import DockerNetwork, DockerPool, Ledger
from vxnet.docker.options import read_options
from vxnet.drivers.overlay import MADE_BY
from vxnet.errors import StateError
from vxnet.networks import NetworkRequest, Networks

__all__ = ["DockerNetworks", "gateways_of", "places_of"]

NAMED_WITHIN_S: Final = 2.0
"""How long an endpoint waits for the name of a network that was only just made."""


class DockerNetworks:
    """Makes and removes them, and answers which network one is."""

    def __init__(
        self, ledger: Ledger, networks: Networks, addresses: Addresses, *, swarm: bool, named: bool
    ) -> None:
        """`named`: Docker's API can be asked for names. `swarm`: networks are made by a swarm."""
        self._ledger = ledger
        self._networks = networks
        self._addresses = addresses
        self._swarm = swarm
        self._named = named
        self._news = asyncio.Event()
        self.unnamed_event = asyncio.Event()
        """Set when there is one without a name."""

    def unnamed(self) -> list[str]:
        """The ids of those whose name is not known yet."""
        return [n.id for n in self._ledger.networks.values() if not n.name and not n.problem]

    def known(self) -> list[tuple[DockerNetwork, Network]]:
        """Those that are a network by now."""
        pairs = [(docker, self._find(docker.name)) for docker in self._ledger.networks.values()]
        return [(docker, network) for docker, network in pairs if network is not None]

    def only_of(self, network_id: str) -> Network | None:
        """The network that a Docker network is, where no other of this Docker is it, too."""
        docker = self._ledger.networks.get(network_id)
        if docker is None or not docker.name:
            return None
        same = [n for n in self._ledger.networks.values() if n.name == docker.name]
        return self._find(docker.name) if same == [docker] else None

    async def create(self, message: CreateNetwork) -> None:
        """Have a network. Raises StateError for what cannot be; then nothing is left of it."""
        if message.network in self._ledger.networks:
            return
        wishes = read_options(message.options)
        data = [*(message.ipv4 or ()), *(message.ipv6 or ())]
        pools = [pool for entry in data if (pool := self._unclaimed(entry)) is not None]
        network = DockerNetwork(
            id=message.network,
            subnets=tuple(_subnet(entry) for entry in data if not _is_open(entry.pool)),
            vni=wishes.vni,
            mtu=wishes.mtu,
            options=wishes.options,
            internal=bool((message.options or {}).get(INTERNAL)),
            swarm=self._swarm,
            reserved=tuple(
                address.partition("/")[0]
                for entry in data
                for address in (entry.aux_addresses or {}).values()
            ),
        )
        name = wishes.name or next((pool.name for pool in pools if pool.name), "")
        if not name and (self._swarm or not self._named):
            name = self._fallback(network)
        if name:
            await self._bind(network, name)
        else:
            await self._ledger.keep_network(network)
            self.unnamed_event.set()
        for pool in pools:
            await self._ledger.keep_pool(replace(pool, network=network.id))

    async def delete(self, network_id: str) -> None:
        """Have a network no more; vxnet's goes with the last Docker that has it."""
        docker, network = self._ledger.networks.get(network_id), self.only_of(network_id)
        await self._ledger.drop_network(network_id)
        if docker is None or network is None:
            return
        await self._addresses.release(network.id, places_of(network, docker.reserved))
        if network.options.get(MADE_BY) == "docker":
            with contextlib.suppress(StateError):  # other hosts use it
                await self._networks.remove(network.name)

    async def bind(self, network_id: str, name: str) -> None:
        """The name of a network is known now; why it does not fit is kept, and told later."""
        docker = self._ledger.networks.get(network_id)
        if docker is None or docker.name:
            return
        try:
            await self._bind(docker, name)
        except StateError as error:
            await self._ledger.keep_network(replace(docker, problem=str(error)))
            raise
        finally:
            self._news.set()

    async def of(self, network_id: str) -> tuple[DockerNetwork, Network]:
        """A Docker network, and the network it is. Raises StateError where it cannot be used."""
        docker = self._ledger.networks.get(network_id)
        if docker is not None and not docker.name and not docker.problem:
            await self._wait_for_name(network_id)
            docker = self._ledger.networks.get(network_id)
        if docker is None:
            raise StateError(
                f"vxnet does not know the network {network_id[:12]}; "
                "remove it with docker network rm, and create it anew"
            )
        if docker.problem:
            raise StateError(docker.problem)
        if not docker.name:
            raise StateError(
                f"Docker did not tell the name of the network {network_id[:12]} yet; try again, "
                "or say -o network=NAME when it is created"
            )
        network = self._find(docker.name)
        if network is None:  # removed elsewhere while nobody used it
            await self._bind(docker, docker.name)
            network = self._networks.get(docker.name)
        return docker, network

    async def _wait_for_name(self, network_id: str) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(NAMED_WITHIN_S):
                while network_id in self.unnamed():
                    self._news.clear()
                    await self._news.wait()

    async def _bind(self, docker: DockerNetwork, name: str) -> None:
        network = self._find(name)
        if network is None:
            network = await self._networks.ensure(self._request(docker, name))
        self._check(docker, network)
        for place in places_of(network, docker.reserved):
            # Where another host hands it out already, it cannot be kept from it.
            with contextlib.suppress(StateError):
                await self._addresses.lease(
                    network, place.network, f"docker-{docker.id[:12]}", place.ip
                )
        await self._ledger.keep_network(replace(docker, name=network.name, problem=""))

    def _request(self, docker: DockerNetwork, name: str) -> NetworkRequest:
        subnets = tuple(
            Subnet(ipaddress.ip_network(prefix), ipaddress.ip_address(gateway) if gateway else None)
            for prefix, gateway in docker.subnets
        )
        return NetworkRequest(
            name,
            subnets=() if docker.swarm else subnets,
            vni=docker.vni,
            mtu=docker.mtu,
            options={**docker.options, MADE_BY: "docker"},
            foreign_addresses=docker.swarm,
            allow_overlap=True,  # Docker has judged it
        )

    def _check(self, docker: DockerNetwork, network: Network) -> None:
        """Raises StateError where Docker's network cannot be this one."""
        if network.driver != "overlay":
            raise StateError(
                f"network {network.name} is one of the {network.driver} driver; "
                "Docker can have overlay networks"
            )
        prefixes = {str(subnet.prefix) for subnet in network.subnets}
        for prefix, _ in () if docker.swarm else docker.subnets:
            if prefix not in prefixes:
                raise StateError(
                    f"network {network.name} has {', '.join(sorted(prefixes))}, and Docker's has "
                    f"{prefix}; remove it with docker network rm, and create it with "
                    "--ipam-driver vxnet, which takes the subnet that there is"
                )
        for what, wanted, there in (
            ("VNI", docker.vni, network.vni),
            ("MTU", docker.mtu, network.mtu),
        ):
            if wanted not in (None, there):
                raise StateError(
                    f"network {network.name} exists with {what} {there}, not {wanted}; "
                    f"leave out -o {what.lower()}"
                )

    def _unclaimed(self, entry: IpamData) -> DockerPool | None:
        """The pool of ours that a new network has; None where its addresses are Docker's own."""
        gateway = entry.gateway.partition("/")[0]
        for pool in self._ledger.pools.values():
            if not pool.network and pool.prefix == entry.pool and pool.gateway == gateway:
                return pool
        return None

    def _fallback(self, docker: DockerNetwork) -> str:
        """What to call a network whose name nobody tells; in a swarm, the same on every host."""
        if not docker.swarm:
            wanted = {prefix for prefix, _ in docker.subnets}
            same = [n.name for n in self._networks if {str(s.prefix) for s in n.subnets} >= wanted]
            if wanted and len(same) == 1:
                return same[0]
        return f"{'swarm' if docker.swarm else 'docker'}-{docker.id[:12]}"

    def _find(self, name: str) -> Network | None:
        return next((network for network in self._networks if network.name == name), None)


def gateways_of(docker: DockerNetwork, network: Network) -> tuple[IpInterface, ...]:
    """The gateways a network's containers have, with their subnets' length."""
    if docker.swarm:
        pairs = [(prefix, gateway) for prefix, gateway in docker.subnets if gateway]
    else:
        pairs = [(str(s.prefix), str(s.gateway)) for s in network.subnets if s.gateway is not None]
    return tuple(
        ipaddress.ip_interface(f"{gateway}/{prefix.partition('/')[2]}") for prefix, gateway in pairs
    )


def places_of(network: Network, addresses: tuple[str, ...]) -> tuple[IpInterface, ...]:
    """Addresses with the length of the subnet they are in; others are left out."""
    return tuple(
        ipaddress.ip_interface(f"{text}/{subnet.prefix.prefixlen}")
        for text in addresses
        for subnet in network.subnets
        if ipaddress.ip_address(text) in subnet.prefix
    )


def _subnet(entry: IpamData) -> tuple[str, str]:
    """Prefix and gateway. Raises StateError for what Docker would not send."""
    try:
        prefix: IpNetwork = ipaddress.ip_network(entry.pool)
        gateway = entry.gateway.partition("/")[0]
        if gateway:
            ipaddress.ip_address(gateway)
    except ValueError as error:
        raise StateError(f"the subnet of a network cannot be read: {error}") from None
    return str(prefix), gateway


def _is_open(pool: str) -> bool:
    return pool.startswith(("0.0.0.0/", "::/"))
