"""Published ports of services: each host takes what comes to them, and passes it on to a member.

The host has a station of its own in the service's network, behind which are sockets and nobody
else, as with a resolver's door. Unlike that, it has an address that no other host has, so that
members on all hosts can answer it. A member that has a way out by its network is shown its clients'
own addresses: its host knows that they came by this one, and has the answers find it (`waysback`).
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address
from random import Random
from typing import Final

from vxnet.addresses import Addresses
from vxnet.cnm.driver import NetworkDriver
from vxnet.cnm.model import (
    Endpoint,
    IpAddress,
    Network,
    NetworkId,
    device_alias,
    device_name,
)
from vxnet.cnm.services import PortRow, ServiceRow
from vxnet.errors import HostError, VxnetError
from vxnet.host.base import HostNetwork
from vxnet.host.namespace import enter, run_outside
from vxnet.names.directory import Named
from vxnet.names.rows import Serving
from vxnet.networks import Networks
from vxnet.relays.base import Bound, Target
from vxnet.relays.datagrams import DatagramRelay
from vxnet.relays.sources import Sources
from vxnet.relays.streams import StreamRelay
from vxnet.services import Services
from vxnet.stations import give_up, relay_station, take_up
from vxnet.tending import woken

__all__ = ["Ingress", "Opening"]

TEND_EVERY_S: Final = 1.0
RETRY_AFTER_S: Final = 10.0
DRAIN_S: Final = 3.0
IFNAME: Final = "ingress0"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opening:
    """A published port on this host, for people. `problem` is empty where it is open."""

    port: PortRow
    problem: str
    connections: int


@dataclass(frozen=True, slots=True)
class _Wish:
    """A port of the host, and what it is to lead to."""

    port: PortRow
    service: str
    network: NetworkId
    mode: str
    proxy_protocol: bool

    @property
    def key(self) -> tuple[int, str]:
        return self.port.published, self.port.protocol


@dataclass(slots=True)
class _Stand:
    """This host's station in a network."""

    network: Network
    endpoint: Endpoint
    namespace: int
    makers: ThreadPoolExecutor

    async def make_socket(self, family: int, kind: int) -> socket.socket:
        """A socket behind it."""
        kind |= socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.makers, socket.socket, family, kind)


class Ingress:
    """Opens what the services of the cluster say, and follows their members."""

    def __init__(
        self,
        services: Services,
        networks: Networks,
        addresses: Addresses,
        overlay: NetworkDriver,
        host: HostNetwork,
        own_id: Callable[[], int],
        random: Random,
        *,
        enabled: bool = True,
    ) -> None:
        self.bound = Bound()
        self.sources = Sources()
        self._services = services
        self._networks = networks
        self._addresses = addresses
        self._overlay = overlay
        self._host = host
        self._own_id = own_id
        self._random = random
        self._enabled = enabled
        self._stands: dict[NetworkId, _Stand] = {}
        self._relays: dict[_Wish, StreamRelay | DatagramRelay] = {}
        self._problems: dict[_Wish, str] = {}
        self._retry_at: dict[_Wish, float] = {}
        self._awake = asyncio.Event()
        services.watchers.append(self._awake.set)

    def openings(self, row: ServiceRow) -> list[Opening]:
        """What this host does about a service's published ports."""
        wishes = {wish.port: wish for wish in _wishes(row)}
        found = []
        for port, wish in wishes.items():
            relay = self._relays.get(wish)
            problem = "" if relay is not None else self._problems.get(wish, "not open here")
            found.append(Opening(port, problem, 0 if relay is None else len(relay)))
        return found

    def seen_by(self, member: Named) -> str:
        """Whom a member takes clients of published ports for, as this host believes."""
        versions = {4 if len(ip) == 4 else 6 for ip in member.row.ips}
        shown = versions & set(member.row.ways_out)
        if not shown:
            return "the host: it has no way out by this network"
        if self.sources.is_spared(member.id, asyncio.get_running_loop().time()):
            return "the host: it did not answer clients"
        if shown == versions:
            return "clients"
        return f"clients over IPv{shown.pop()}"

    def counters(self) -> Counter[str]:
        """What was counted."""
        return Counter({**self.bound.counters, "ingress_connections": self.bound.used})

    async def run(self, report: Callable[[VxnetError], None]) -> None:
        """Follow until cancelled; failures are reported."""
        while True:
            await woken(self._awake, TEND_EVERY_S)
            await self.tend(report)

    async def tend(self, report: Callable[[VxnetError], None]) -> None:
        """Have what is wanted now, and nothing else."""
        wanted = {wish.key: wish for wish in self._wanted()}
        for wish in self._relays.keys() - set(wanted.values()):
            relay = self._relays.pop(wish)
            relay.stop()
            relay.abort()
        now = asyncio.get_running_loop().time()
        self._problems = {w: p for w, p in self._problems.items() if w in wanted.values()}
        for wish in wanted.values():
            if wish not in self._relays and now >= self._retry_at.get(wish, 0.0):
                try:
                    await self._open(wish)
                    self._problems.pop(wish, None)
                    self._retry_at.pop(wish, None)
                except VxnetError as error:
                    if self._problems.get(wish) != str(error):
                        report(error)
                    self._problems[wish] = str(error)
                    self._retry_at[wish] = now + RETRY_AFTER_S
        there: set[bytes] = set()
        for wish, relay in self._relays.items():
            row = self._services.catalogue.get(wish.service)
            if row is not None:
                members = {member.id for member in self._services.members(row)}
                there |= members
                relay.keep(members)
        self.sources.keep(there)
        in_use = {wish.network for wish in self._relays}
        for network in self._stands.keys() - in_use:
            await self._leave(network)

    async def close(self) -> None:
        """Take nothing more; what goes on has a moment to end."""
        for relay in self._relays.values():
            if isinstance(relay, StreamRelay):
                relay.stop()
        if self.bound.used:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_S):
                    await self.bound.ended.wait()
        for relay in self._relays.values():
            relay.stop()
            relay.abort()
        self._relays.clear()
        await asyncio.sleep(0)  # those that were told to end do
        for network in list(self._stands):
            with contextlib.suppress(VxnetError):
                await self._leave(network)

    # Ports

    def _wanted(self) -> Iterator[_Wish]:
        if not self._enabled:
            return
        for row in self._services:
            if self._networks.by_id(row.network_id) is None:
                continue
            if row.publish_mode == "host" and not any(self._here(row)):
                continue
            yield from _wishes(row)

    async def _open(self, wish: _Wish) -> None:
        stand = await self._enter(wish.network)

        def choose(
            held: Counter[bytes], tried: Collection[bytes], client: IpAddress
        ) -> Target | None:
            return self._choose(wish, held, tried, client)

        published = wish.port.published
        relay: StreamRelay | DatagramRelay
        if wish.port.protocol == "tcp":
            relay = StreamRelay(
                published,
                choose,
                stand.make_socket,
                self.bound,
                self.sources,
                proxy_protocol=wish.proxy_protocol,
            )
        else:
            relay = DatagramRelay(published, choose, stand.make_socket, self.bound, self.sources)
        await relay.open()
        self._relays[wish] = relay
        _log.info("published port open", {"port": wish.port, "service": wish.service})

    def _here(self, row: ServiceRow) -> Iterator[Named]:
        own = self._own_id()
        return (member for member in self._services.members(row) if member.owner == own)

    def _choose(
        self, wish: _Wish, held: Counter[bytes], tried: Collection[bytes], client: IpAddress
    ) -> Target | None:
        """Of the healthy members, one of those that have the fewest here."""
        row = self._services.catalogue.get(wish.service)
        if row is None:
            return None
        takers = [
            member
            for member in self._services.members(row)
            if member.row.serving(row.name) is Serving.HEALTHY
            and member.row.ips
            and member.id not in tried
        ]
        here = [member for member in takers if member.owner == self._own_id()]
        if wish.mode == "host" or (row.prefer_local and here):
            takers = here
        if not takers:
            return None
        fewest = min(held[member.id] for member in takers)
        chosen = self._random.choice([m for m in takers if held[m.id] == fewest])
        return self._target(wish, chosen, client)

    def _target(self, wish: _Wish, member: Named, client: IpAddress) -> Target:
        """Where to reach a member; at an address it can answer the client's own from, if any."""
        addresses = [ip_address(bytes(ip)) for ip in member.row.ips]
        fitting = [address for address in addresses if address.version == client.version]
        shows_client = (
            bool(fitting)
            and client.version in member.row.ways_out
            and not (wish.proxy_protocol and wish.port.protocol == "tcp")
            and self._is_outside(client, wish.network)
        )
        address = fitting[0] if shows_client else addresses[0]
        return Target(member.id, address, wish.port.target, shows_client)

    def _is_outside(self, client: IpAddress, network_id: NetworkId) -> bool:
        """Whether what members answer to an address leaves their network."""
        network = self._networks.by_id(network_id)
        return (
            network is not None
            and not any(client in subnet.prefix for subnet in network.subnets)
            and not client.is_loopback
            and not client.is_link_local
            and not client.is_unspecified
            and not client.is_multicast
        )

    # Stations

    async def _enter(self, network_id: NetworkId) -> _Stand:
        stand = self._stands.get(network_id)
        if stand is not None:
            return stand
        network = self._networks.by_id(network_id)
        if network is None:
            raise HostError("the network of a service is gone")
        endpoint = relay_station(network, self._own_id())
        addresses = await self._addresses.allocate(network, (), endpoint.name)
        device, alias = device_name(endpoint.id), device_alias(endpoint.id)
        stand = None
        try:
            endpoint = relay_station(network, self._own_id(), addresses)
            fd = await run_outside(
                lambda: os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            )
            path = f"/proc/{os.getpid()}/fd/{fd}"
            makers = ThreadPoolExecutor(1, "ingress", initializer=enter, initargs=(path,))
            stand = _Stand(network, endpoint, fd, makers)
            await self._host.remove(None, device, alias)  # what a killed daemon left
            interface = await take_up(self._overlay, network, endpoint, IFNAME)
            await self._host.take_all(path)
            await self._host.place(device, path, interface)
        except BaseException:
            if stand is not None:
                await self._unmake(stand)
            await self._addresses.release(network.id, addresses)
            raise
        self._stands[network_id] = stand
        return stand

    async def _leave(self, network_id: NetworkId) -> None:
        stand = self._stands.pop(network_id)
        await self._unmake(stand)
        await self._addresses.release(network_id, stand.endpoint.addresses)

    async def _unmake(self, stand: _Stand) -> None:
        await give_up(self._overlay, stand.network, stand.endpoint)
        stand.makers.shutdown(wait=False)
        os.close(stand.namespace)


def _wishes(row: ServiceRow) -> Iterator[_Wish]:
    for port in row.ports:
        if port.published:
            yield _Wish(port, row.name, row.network_id, row.publish_mode, row.proxy_protocol)
