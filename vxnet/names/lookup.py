"""What a name means to whoever asks: the networks it is in, and what is called so there."""

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from vxnet.cnm.model import IpAddress, IpNetwork, NetworkId
from vxnet.names.directory import Directory, Named
from vxnet.names.rows import Serving
from vxnet.wire.addr import Ip

__all__ = ["Asker", "Finding", "Kind", "Lookup", "Scope", "ServiceNames", "reverse_of"]

TASKS: Final = "tasks"
RESOLVER: Final = "resolver"


class Kind(StrEnum):
    """What a name turned out to be."""

    ENDPOINT = "endpoint"
    SERVICE = "service"
    TASKS = "members of a service"
    RESOLVER = "the network's resolver"
    ZONE = "the network itself"
    NOTHING = "nothing in this network"


@dataclass(frozen=True, slots=True)
class Scope:
    """A network, as far as names go."""

    id: NetworkId
    name: str
    prefixes: tuple[IpNetwork, ...] = ()
    resolvers: tuple[IpAddress, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Asker:
    """Whose names are seen: of all networks its sandbox is in, that where it asks first."""

    scopes: tuple[Scope, ...]


@dataclass(frozen=True, slots=True)
class ServiceNames:
    """A service, as far as names go. `ports` are pairs of a number and `tcp` or `udp`."""

    name: str
    vips: tuple[Ip, ...] = ()
    ports: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What is answered, and why."""

    kind: Kind
    scope: Scope
    name: str
    addresses: tuple[Ip, ...] = ()
    named: tuple[Named, ...] = ()
    service: ServiceNames | None = None
    why: str = ""
    text: tuple[str, ...] = field(default=())


ServiceFinder = Callable[[NetworkId, str], ServiceNames | None]


class Lookup:
    """Finds names. A pure function of the directory and of the services there are."""

    def __init__(self, directory: Directory, find_service: ServiceFinder) -> None:
        self._directory = directory
        self._find_service = find_service

    def find(self, labels: Sequence[str], asker: Asker) -> Finding | None:
        """What a name is; None where it is not ours to answer for."""
        if not labels:
            return None
        for scope in asker.scopes:
            zone = scope.name.lower().split(".")
            if list(labels[-len(zone) :]) == zone:
                rest = labels[: -len(zone)]
                if not rest:
                    # A network may be called as something in it, or in another network, is.
                    return self._anywhere(labels, asker) or Finding(Kind.ZONE, scope, "")
                found = self._within(scope, rest) or self._anywhere(labels, asker)
                return found or Finding(
                    Kind.NOTHING, scope, ".".join(rest), why=f"{scope.name} has no such name"
                )
        return self._anywhere(labels, asker)

    def reverse(self, address: IpAddress, asker: Asker) -> Finding | None:
        """What an address is called; None where it lies in no network of the asker's."""
        for scope in asker.scopes:
            if all(address not in prefix for prefix in scope.prefixes):
                continue
            ip = Ip(address.packed)
            if address in scope.resolvers:
                return Finding(Kind.RESOLVER, scope, RESOLVER, (ip,))
            if named := self._directory.at(scope.id, ip):
                return Finding(Kind.ENDPOINT, scope, named[0].row.name, (ip,), tuple(named))
            if service := self._find_service(scope.id, str(address)):
                return Finding(Kind.SERVICE, scope, service.name, (ip,), service=service)
            return Finding(Kind.NOTHING, scope, str(address), why="nobody has this address")
        return None

    def _anywhere(self, labels: Sequence[str], asker: Asker) -> Finding | None:
        for scope in asker.scopes:
            if (found := self._within(scope, labels)) is not None:
                return found
        return None

    def _within(self, scope: Scope, labels: Sequence[str]) -> Finding | None:
        name = ".".join(labels)
        if service := self._find_service(scope.id, name):
            if service.vips:
                return self._service(scope, service, service.vips, "its address, one for all")
            return self._members(scope, service, Kind.SERVICE)
        if len(labels) > 1 and labels[0] == TASKS:
            service = self._find_service(scope.id, ".".join(labels[1:]))
            if service is not None:
                return self._members(scope, service, Kind.TASKS)
        if named := self._directory.named(scope.id, name):
            addresses = tuple(Ip(ip) for one in named for ip in one.row.ips)
            return Finding(Kind.ENDPOINT, scope, name, addresses, tuple(named))
        if name == RESOLVER and scope.resolvers:
            ips = tuple(Ip(address.packed) for address in scope.resolvers)
            return Finding(Kind.RESOLVER, scope, name, ips)
        return None

    def _service(
        self, scope: Scope, service: ServiceNames, addresses: tuple[Ip, ...], why: str
    ) -> Finding:
        members = tuple(self._directory.members(scope.id, service.name))
        healthy = sum(m.row.serving(service.name) is Serving.HEALTHY for m in members)
        text = (f"service={service.name}", f"healthy={healthy}/{len(members)}")
        return Finding(Kind.SERVICE, scope, service.name, addresses, members, service, why, text)

    def _members(self, scope: Scope, service: ServiceNames, kind: Kind) -> Finding:
        members = self._directory.members(scope.id, service.name)
        healthy = [m for m in members if m.row.serving(service.name) is Serving.HEALTHY]
        return Finding(
            kind,
            scope,
            service.name,
            tuple(Ip(ip) for member in healthy for ip in member.row.ips),
            tuple(healthy),
            service,
            f"{len(healthy)} of {len(members)} members are healthy",
            (f"service={service.name}", f"healthy={len(healthy)}/{len(members)}"),
        )


def reverse_of(labels: Sequence[str]) -> IpAddress | None:
    """The address that a name below in-addr.arpa or ip6.arpa stands for (RFC 1035 §3.5)."""
    try:
        match tuple(labels):
            case (*octets, "in-addr", "arpa") if len(octets) == 4:
                return ipaddress.IPv4Address(".".join(reversed(octets)))
            case (*digits, "ip6", "arpa") if len(digits) == 32 and all(len(d) == 1 for d in digits):
                return ipaddress.IPv6Address(bytes.fromhex("".join(reversed(digits))))
    except ValueError:
        pass
    return None
