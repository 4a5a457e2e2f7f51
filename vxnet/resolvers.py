"""The resolver of each network this host is in: answers names, and passes on what is none."""

import asyncio
import contextlib
import ipaddress
import socket
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from vxnet.cnm.model import EndpointId, IpInterface, Network, NetworkId, derive_mac
from vxnet.cnm.subnets import resolvers_of
from vxnet.datapath.base import Port
from vxnet.door import Door
from vxnet.errors import VxnetError
from vxnet.forwarding import Forwarding
from vxnet.host.upstream import Upstream
from vxnet.names.lookup import Asker, Finding, Lookup, Scope, ServiceFinder
from vxnet.names.query import QUERY_BYTES_MAX, DnsError, Fault, parse
from vxnet.names.responder import Answered, Responder, refuse, shorten
from vxnet.nameservice import NameService
from vxnet.registry import Registry
from vxnet.switch.actions import PortId
from vxnet.switch.bucket import TokenBucket
from vxnet.wire.addr import Ip, Mac, Vni

__all__ = ["DNS_PORT", "DoorOpener", "Resolvers"]

DNS_PORT: Final = 53
BATCH: Final = 64  # taken for one wake-up, so that others get their turn
CLIENT_PER_S, CLIENT_BURST = 4_000.0, 8_000.0
CLIENTS_MAX: Final = 4_096
STREAMS_MAX: Final = 64  # of one network
STREAM_IDLE_S: Final = 10.0

DoorOpener = Callable[[tuple[IpInterface, ...], Mac, int, int], Awaitable[Door]]
"""Addresses, MAC, MTU and port. Raises HostError."""


@dataclass(slots=True)
class _Desk:
    """Where one network's questions arrive."""

    network: Network
    port: PortId
    door: Door | None = None
    is_opening: bool = False
    streams: int = 0


class Resolvers:
    """A desk a network; what the datapath delivers to it is answered on the event loop."""

    def __init__(
        self,
        names: NameService,
        registry: Registry,
        forwarding: Forwarding,
        find_network: Callable[[NetworkId], Network | None],
        find_service: ServiceFinder,
        open_door: DoorOpener,
        make_upstream: Callable[[Callable[[], set[str]], Counter[str]], Upstream],
        report: Callable[[VxnetError], None],
    ) -> None:
        self.counters: Counter[str] = Counter()
        self.arrivals: list[Callable[[], None]] = []
        """Told when a network came to this host."""
        self._names = names
        self._registry = registry
        self._forwarding = forwarding
        self._find_network = find_network
        self._open_door = open_door
        self._report = report
        self._desks: dict[Vni, _Desk] = {}
        self._upstream = make_upstream(self.addresses, self.counters)
        self._lookup = Lookup(names.directory, find_service)
        self._responder = Responder(self._lookup)
        self._version = 0
        self._turn = 0
        self._askers: OrderedDict[tuple[NetworkId, bytes], Asker] = OrderedDict()
        self._buckets: OrderedDict[bytes, TokenBucket] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        names.watchers.append(self.renew)
        registry.watchers.append(self.renew)

    # Networks that come and go

    async def arrive(self, network: Network, port: PortId) -> None:
        """The network came to this host; `port` is free to be taken."""
        assert network.vni is not None
        if resolvers_of(network) and network.vni not in self._desks:
            desk = self._desks[network.vni] = _Desk(network, port)
            await self._open(desk)
            self.renew()
        for watcher in self.arrivals:
            watcher()

    def depart(self, vni: Vni) -> None:
        """The network leaves this host."""
        desk = self._desks.pop(vni, None)
        if desk is not None:
            self._close(desk)
            self.renew()

    async def tend(self) -> None:
        """Open again what could not be opened."""
        for desk in list(self._desks.values()):
            if desk.door is None and not desk.is_opening:
                await self._open(desk)

    def close(self) -> None:
        """Answer nobody any more."""
        for vni in list(self._desks):
            self.depart(vni)
        for task in self._tasks:
            task.cancel()
        self._upstream.close()

    def door(self, network: NetworkId) -> Door | None:
        """The way of this host's own into a network, while there is one."""
        desks = (desk for desk in self._desks.values() if desk.network.id == network)
        return next((desk.door for desk in desks), None)

    def renew(self) -> None:
        """Names, services or networks changed: what was answered before may be otherwise."""
        self._version += 1
        self._askers.clear()

    def addresses(self) -> set[str]:
        """Where this host's own resolvers are, which it never asks itself."""
        return {
            str(address.ip)
            for desk in self._desks.values()
            for address in resolvers_of(desk.network)
        }

    # For people

    def ports(self) -> dict[PortId, str]:
        """The ports it has in the datapath, each with its network's name."""
        return {desk.port: desk.network.name for desk in self._desks.values()}

    def explain(self, name: str, network: Network) -> Finding | None:
        """What a name, or an address, is to somebody in a network; None: it is passed on."""
        asker = Asker((_scope(network),))
        try:
            return self._lookup.reverse(ipaddress.ip_address(name), asker)
        except ValueError:
            labels = tuple(label for label in name.lower().rstrip(".").split(".") if label)
            return self._lookup.find(labels, asker)

    def upstream(self) -> list[str]:
        """Who is asked for what no network knows."""
        return [
            host if port == DNS_PORT else f"{host}:{port}"
            for host, port in self._upstream.servers()
        ]

    def counts(self) -> dict[str, int]:
        """What was counted."""
        return {**self.counters, **self._upstream.counters()}

    # How a desk works

    async def _open(self, desk: _Desk) -> None:
        network = desk.network
        assert network.vni is not None
        addresses = resolvers_of(network)
        mac = derive_mac(network.id, EndpointId("resolver"))  # the same on every host
        desk.is_opening = True
        try:
            door = await self._open_door(addresses, mac, network.mtu, DNS_PORT)
        except VxnetError as error:
            self.counters["dns_doors_failed"] += 1
            self._report(error)
            return
        finally:
            desk.is_opening = False
        if self._desks.get(network.vni) is not desk:  # it left meanwhile
            door.close()
            door.link.close()
            return
        desk.door = door
        ips = tuple(Ip(address.ip.packed) for address in addresses)
        self._forwarding.add_port(Port(desk.port, network.vni, mac, ips, private=True), door.link)
        loop = asyncio.get_running_loop()
        for opened in door.datagrams:
            loop.add_reader(opened, self._receive, desk, opened)
        for opened in door.listeners:
            loop.add_reader(opened, self._accept, desk, opened)

    def _close(self, desk: _Desk) -> None:
        door, desk.door = desk.door, None
        if door is not None:
            loop = asyncio.get_running_loop()
            for opened in (*door.datagrams, *door.listeners):
                loop.remove_reader(opened)
            self._forwarding.remove_port(desk.port)
            door.close()

    def _receive(self, desk: _Desk, via: socket.socket) -> None:
        """Datagrams are there."""
        for _ in range(BATCH):
            try:
                packet, sender = via.recvfrom(QUERY_BYTES_MAX + 1)
            except BlockingIOError:
                return
            except OSError:  # what ICMP told of an earlier answer
                self.counters["dns_receive_errors"] += 1
                return

            def send(answer: bytes, sender: tuple[Any, ...] = sender) -> None:
                try:
                    via.sendto(answer, sender)
                except OSError:
                    self.counters["dns_send_errors"] += 1

            self._answer(desk, packet, sender[0], send, stream=False)

    def _answer(
        self,
        desk: _Desk,
        packet: bytes,
        client: str,
        send: Callable[[bytes], None],
        *,
        stream: bool,
    ) -> bool:
        """Answer now, or when the host's resolvers did; False where there will be no answer."""
        self.counters["dns_questions"] += 1
        try:
            asker = self._admit(desk, client)
            query = parse(packet)
            self._turn += 1
            outcome = self._responder.answer(
                packet, query, asker, version=self._version, turn=self._turn, stream=stream
            )
        except DnsError as error:
            self.counters[error.fault] += 1
            return False
        if isinstance(outcome, Answered):
            self.counters["dns_answered"] += 1
            send(outcome.packet)
            return True

        def tell(answer: bytes | None) -> None:
            if answer is None:
                self.counters["dns_unanswered"] += 1
                answer = refuse(packet, stream=stream)
            send(shorten(answer, query.end, outcome.size_max))

        self._upstream.ask(packet, query, tell, stream=stream)
        return True

    def _admit(self, desk: _Desk, client: str) -> Asker:
        """Who asks. Raises DnsError for an address that nobody in the network has, and floods."""
        address = ipaddress.ip_address(client.partition("%")[0])
        ip = address.packed
        bucket = self._buckets.get(ip)
        if bucket is None:
            bucket = self._buckets[ip] = TokenBucket(CLIENT_PER_S, CLIENT_BURST)
            if len(self._buckets) > CLIENTS_MAX:
                self._buckets.popitem(last=False)
        if not bucket.take(asyncio.get_running_loop().time()):
            raise DnsError(Fault.LIMITED, f"{client} asks too often")
        key = (desk.network.id, ip)
        asker = self._askers.get(key)
        if asker is None:
            inside = any(address in subnet.prefix for subnet in desk.network.subnets)
            if not inside and not address.is_link_local:
                raise DnsError(Fault.SPOOFED, f"{client} is no address of the network")
            asker = self._askers[key] = self._asker(desk.network, Ip(ip))
            if len(self._askers) > CLIENTS_MAX:
                self._askers.popitem(last=False)
        return asker

    def _asker(self, network: Network, ip: Ip) -> Asker:
        """The networks that whoever has an address here is in."""
        networks = [network]
        for endpoint in self._registry.of_network(network.id):
            if ip in endpoint.ips and endpoint.sandbox is not None:
                for other in self._registry:
                    found = self._find_network(other.network)
                    if other.sandbox == endpoint.sandbox and found not in (None, *networks):
                        assert found is not None
                        networks.append(found)
        return Asker(tuple(map(_scope, networks)))

    # TCP

    def _accept(self, desk: _Desk, listener: socket.socket) -> None:
        """Connections are there."""
        for _ in range(BATCH):
            try:
                connection, sender = listener.accept()
            except BlockingIOError:
                return
            except OSError:
                self.counters["dns_receive_errors"] += 1
                return
            if desk.streams >= STREAMS_MAX:
                self.counters["dns_streams_refused"] += 1
                connection.close()
                continue
            connection.setblocking(False)
            desk.streams += 1
            task = asyncio.get_running_loop().create_task(self._serve(desk, connection, sender[0]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, desk: _Desk, connection: socket.socket, client: str) -> None:
        """Questions of one connection, each behind its length (RFC 7766 §8)."""
        try:
            reader, writer = await asyncio.open_connection(sock=connection)
        except OSError:
            desk.streams -= 1
            connection.close()
            return
        try:
            while True:
                async with asyncio.timeout(STREAM_IDLE_S):
                    size = int.from_bytes(await reader.readexactly(2))
                    if size > QUERY_BYTES_MAX:
                        self.counters[Fault.OVERSIZED] += 1
                        return
                    packet = await reader.readexactly(size)
                    done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

                    def send(answer: bytes, done: asyncio.Future[bytes] = done) -> None:
                        if not done.done():
                            done.set_result(answer)

                    if not self._answer(desk, packet, client, send, stream=True):
                        return
                    answer = await done
                    writer.write(len(answer).to_bytes(2) + answer)
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            return
        finally:
            desk.streams -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def _scope(network: Network) -> Scope:
    return Scope(
        network.id,
        network.name,
        tuple(subnet.prefix for subnet in network.subnets),
        tuple(address.ip for address in resolvers_of(network)),
    )
