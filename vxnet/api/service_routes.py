"""What the control API answers about services."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from vxnet.api.model import (
    DrainBody,
    PublishedView,
    ServiceBody,
    ServiceMemberView,
    ServiceView,
)
from vxnet.api.routes import Route
from vxnet.api.views import Views
from vxnet.cnm.services import PortRow, ServiceRow
from vxnet.errors import WireError
from vxnet.gossip.events import NodeId
from vxnet.health import HealthChecks
from vxnet.ingress import Ingress
from vxnet.services import ServiceRequest, Services
from vxnet.wire.addr import format_ip

__all__ = ["ServiceRoutes"]


@dataclass(frozen=True, slots=True)
class ServiceRoutes:
    """The verbs of services."""

    views: Views
    services: Services
    health: HealthChecks
    ingress: Ingress

    def all(self) -> Sequence[Route]:
        """Every route there is."""
        return (
            ("GET", "/v1/services", self._list),
            ("POST", "/v1/services", self._create),
            ("GET", "/v1/services/{name}", self._inspect),
            ("DELETE", "/v1/services/{name}", self._remove),
            ("POST", "/v1/services/{name}/drain", self._drain),
        )

    async def _list(self, _: web.Request) -> Any:
        return [self._view(row) for row in self.services]

    async def _create(self, request: web.Request) -> Any:
        body = msgspec.json.decode(await request.read(), type=ServiceBody)
        return self._view(await self.services.create(_request(body)))

    async def _inspect(self, request: web.Request) -> Any:
        return self._view(self.services.get(request.match_info["name"]))

    async def _remove(self, request: web.Request) -> Any:
        return self._view(await self.services.remove(request.match_info["name"]))

    async def _drain(self, request: web.Request) -> Any:
        body = msgspec.json.decode(await request.read(), type=DrainBody)
        row = self.services.get(request.match_info["name"])
        self.health.drain(body.endpoint, row.name, wanted=body.wanted)
        return self._view(row)

    def _view(self, row: ServiceRow) -> ServiceView:
        network = self.views.networks.by_id(row.network_id)
        hosts = {member.id: member.name for member in self.views.control.members()}
        flows = self.services.flows(row)
        return ServiceView(
            name=row.name,
            network=row.network_id if network is None else network.name,
            vips=tuple(format_ip(vip) for vip in row.vips),
            ports=tuple(map(str, row.ports)),
            health=row.health,
            prefer_local=row.prefer_local,
            created_ms=row.created_ms,
            members=tuple(
                ServiceMemberView(
                    member.row.name,
                    hosts.get(NodeId(member.owner), "a host that is gone"),
                    tuple(format_ip(ip) for ip in member.row.ips),
                    serving.name.lower(),
                    *flows.get(member.row.station, (0, 0)),
                    self.ingress.seen_by(member) if row.is_published else "",
                )
                for member in self.services.members(row)
                if (serving := member.row.serving(row.name)) is not None
            ),
            published=tuple(
                PublishedView(one.port.publication, one.problem or "open", one.connections)
                for one in self.ingress.openings(row)
            ),
            publish_mode=row.publish_mode,
            proxy_protocol="v2" if row.proxy_protocol else "none",
        )


def _request(body: ServiceBody) -> ServiceRequest:
    vip: str | tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...] = body.vip
    if body.vip not in ("auto", "none"):
        try:
            vip = tuple(ipaddress.ip_address(text) for text in body.vip.split(","))
        except ValueError:
            raise WireError(f"{body.vip!r} is no address; write one, auto or none") from None
    if body.proxy_protocol not in ("none", "v2"):
        raise WireError(f"{body.proxy_protocol!r} is no PROXY protocol; it is v2 or none")
    return ServiceRequest(
        name=body.name,
        network=body.network,
        vip=vip,
        ports=tuple(map(_port, body.ports)),
        health=body.health,
        prefer_local=body.prefer_local,
        publish=tuple(map(_publication, body.publish)),
        publish_mode=body.publish_mode,
        proxy_protocol=body.proxy_protocol == "v2",
    )


def _port(text: str) -> PortRow:
    found = _numbers(text)
    if found is None:
        raise WireError(f"{text!r} is no port of a service; write it like 80:8080 or 53/udp")
    outside, inside, protocol = found
    return PortRow(outside, inside or outside, protocol)


def _publication(text: str) -> tuple[int, int, str]:
    found = _numbers(text)
    if found is None:
        raise WireError(f"{text!r} is no published port; write it like 8080:80 or 53/udp")
    return found


def _numbers(text: str) -> tuple[int, int, str] | None:
    """Both ports and the protocol; 0 where there is no second port."""
    ports, slash, protocol = text.partition("/")
    outside, colon, inside = ports.partition(":")
    given = (outside, inside) if colon else (outside,)
    numbers = [int(t) for t in given if t.isascii() and t.isdigit() and len(t) <= 5]
    right = len(numbers) == len(given) and all(1 <= number <= 65535 for number in numbers)
    if not right or (slash and protocol not in ("tcp", "udp")):
        return None
    return numbers[0], numbers[1] if colon else 0, protocol or "tcp"
