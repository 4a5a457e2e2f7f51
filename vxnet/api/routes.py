"""What the control API answers: a method, a path, and what is done."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from vxnet.addresses import Addresses
from vxnet.api.model import (
    AttachBody,
    DetachBody,
    EndpointBody,
    ForceBody,
    JoinBody,
    KeyBody,
    NetworkBody,
    PeerBody,
    ReclaimBody,
    ReclaimView,
    SandboxBody,
    VerifyView,
)
from vxnet.api.requests import endpoint_request, network_request, peer_of, sandbox_of
from vxnet.api.views import Views, foreign_view
from vxnet.control.keyfile import parse_key
from vxnet.control.rotation import Rotation
from vxnet.endpoints import Endpoints
from vxnet.errors import WireError
from vxnet.foreign import ForeignPeers
from vxnet.networks import Networks
from vxnet.sandboxes import Sandboxes

__all__ = ["Handler", "Route", "Routes", "read_body"]

Handler = Callable[[web.Request], Awaitable[Any]]
Route = tuple[str, str, Handler]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Routes:
    """The verbs of networks, endpoints, sandboxes and keys, and what there is to see."""

    views: Views
    networks: Networks
    endpoints: Endpoints
    sandboxes: Sandboxes
    addresses: Addresses
    rotation: Rotation
    foreign: ForeignPeers

    def all(self) -> Sequence[Route]:
        """Every route there is."""
        return (
            ("GET", "/v1/status", self._status),
            ("GET", "/v1/peers", self._peers),
            ("GET", "/v1/stats", self._stats),
            ("GET", "/v1/stats/verify", self._verify_stats),
            ("GET", "/v1/fdb", self._fdb),
            ("GET", "/v1/fdb/verify", self._verify),
            ("GET", "/v1/networks", self._list_networks),
            ("POST", "/v1/networks", self._create_network),
            ("GET", "/v1/networks/{name}", self._inspect_network),
            ("DELETE", "/v1/networks/{name}", self._remove_network),
            ("GET", "/v1/networks/{name}/peers", self._list_foreign),
            ("POST", "/v1/networks/{name}/peers", self._add_foreign),
            ("DELETE", "/v1/networks/{name}/peers/{vtep}", self._remove_foreign),
            ("GET", "/v1/endpoints", self._list_endpoints),
            ("POST", "/v1/endpoints", self._create_endpoint),
            ("GET", "/v1/endpoints/{name}", self._inspect_endpoint),
            ("DELETE", "/v1/endpoints/{name}", self._remove_endpoint),
            ("POST", "/v1/endpoints/{name}/join", self._join),
            ("POST", "/v1/endpoints/{name}/leave", self._leave),
            ("POST", "/v1/attach", self._attach),
            ("POST", "/v1/detach", self._detach),
            ("GET", "/v1/drivers", self._drivers),
            ("GET", "/v1/ipam", self._leases),
            ("POST", "/v1/ipam/reclaim", self._reclaim),
            ("GET", "/v1/sandboxes", self._list_sandboxes),
            ("POST", "/v1/sandboxes", self._create_sandbox),
            ("GET", "/v1/sandboxes/{name}", self._inspect_sandbox),
            ("DELETE", "/v1/sandboxes/{name}", self._remove_sandbox),
            ("GET", "/v1/dns/{name}", self._dns),
            ("GET", "/v1/history/{about:mac|ip|peer}/{value}", self._history),
            ("GET", "/v1/keys", self._list_keys),
            ("POST", "/v1/keys", self._install_key),
            ("POST", "/v1/keys/{id}/use", self._use_key),
            ("POST", "/v1/keys/{id}/remove", self._remove_key),
        )

    async def _status(self, _: web.Request) -> Any:
        return self.views.status()

    async def _peers(self, _: web.Request) -> Any:
        return self.views.members()

    async def _stats(self, _: web.Request) -> Any:
        return self.views.stats()

    async def _verify_stats(self, _: web.Request) -> Any:
        problems = await self.views.unaccounted()
        return VerifyView(not problems, problems)

    async def _fdb(self, request: web.Request) -> Any:
        return self.views.fdb(request.query.get("network"))

    async def _verify(self, _: web.Request) -> Any:
        problems = tuple(self.views.forwarding.verify())
        return VerifyView(not problems, problems)

    async def _list_networks(self, _: web.Request) -> Any:
        return [self.views.network(network) for network in self.networks]

    async def _create_network(self, request: web.Request) -> Any:
        wanted = network_request(await read_body(request, NetworkBody))
        return self.views.network(await self.networks.create(wanted))

    async def _inspect_network(self, request: web.Request) -> Any:
        return self.views.network(self.networks.get(request.match_info["name"]))

    async def _remove_network(self, request: web.Request) -> Any:
        network = self.views.network(self.networks.get(request.match_info["name"]))
        await self.networks.remove(network.name)
        return network

    async def _list_foreign(self, request: web.Request) -> Any:
        return [foreign_view(one) for one in self.foreign.of(request.match_info["name"])]

    async def _add_foreign(self, request: web.Request) -> Any:
        wanted = peer_of(await read_body(request, PeerBody), self.views.identity.vtep.port)
        return foreign_view(await self.foreign.add(request.match_info["name"], wanted))

    async def _remove_foreign(self, request: web.Request) -> Any:
        named = PeerBody(request.match_info["vtep"])
        ip = peer_of(named, self.views.identity.vtep.port).vtep.ip
        return foreign_view(await self.foreign.remove(request.match_info["name"], ip))

    async def _list_endpoints(self, request: web.Request) -> Any:
        name = request.query.get("network")
        only = None if name is None else self.networks.get(name).id
        return [
            self.views.endpoint(endpoint)
            for endpoint in self.endpoints
            if only is None or endpoint.network == only
        ]

    async def _create_endpoint(self, request: web.Request) -> Any:
        wanted = endpoint_request(await read_body(request, EndpointBody))
        return self.views.endpoint(await self.endpoints.create(wanted))

    async def _inspect_endpoint(self, request: web.Request) -> Any:
        return self.views.endpoint(self.endpoints.get(request.match_info["name"]))

    async def _remove_endpoint(self, request: web.Request) -> Any:
        return self.views.endpoint(await self.endpoints.remove(request.match_info["name"]))

    async def _join(self, request: web.Request) -> Any:
        body = await read_body(request, JoinBody)
        name = request.match_info["name"]
        endpoint = await self.endpoints.join(name, sandbox_of(body), body.ifname)
        return self.views.endpoint(endpoint)

    async def _leave(self, request: web.Request) -> Any:
        return self.views.endpoint(await self.endpoints.leave(request.match_info["name"]))

    async def _attach(self, request: web.Request) -> Any:
        body = await read_body(request, AttachBody)
        wanted = endpoint_request(body.endpoint)
        endpoint = await self.endpoints.attach(wanted, sandbox_of(body.join), body.join.ifname)
        return self.views.endpoint(endpoint)

    async def _detach(self, request: web.Request) -> Any:
        body = await read_body(request, DetachBody)
        endpoint = self.endpoints.in_sandbox(body.network, sandbox_of(body.sandbox))
        return self.views.endpoint(await self.endpoints.remove(endpoint.id))

    async def _leases(self, request: web.Request) -> Any:
        return self.views.leases(request.query.get("network"))

    async def _reclaim(self, request: web.Request) -> Any:
        body = await read_body(request, ReclaimBody)
        return ReclaimView(await self.addresses.reclaim(body.host))

    async def _drivers(self, _: web.Request) -> Any:
        return [await self.views.driver(driver) for driver in self.networks.drivers()]

    async def _list_sandboxes(self, _: web.Request) -> Any:
        return [self.views.sandbox(sandbox) for sandbox in self.sandboxes]

    async def _create_sandbox(self, request: web.Request) -> Any:
        body = await read_body(request, SandboxBody)
        return self.views.sandbox(await self.sandboxes.create(body.name))

    async def _inspect_sandbox(self, request: web.Request) -> Any:
        return self.views.sandbox(self.sandboxes.get(request.match_info["name"]))

    async def _remove_sandbox(self, request: web.Request) -> Any:
        sandbox = self.sandboxes.get(request.match_info["name"])
        await self.sandboxes.remove(request.match_info["name"])
        return self.views.sandbox(sandbox)

    async def _dns(self, request: web.Request) -> Any:
        network = request.query.get("network")
        if network is None:
            raise WireError("a name means something in a network only; say which")
        return self.views.dns(request.match_info["name"], network)

    async def _history(self, request: web.Request) -> Any:
        return self.views.history(request.match_info["about"], request.match_info["value"])

    async def _list_keys(self, _: web.Request) -> Any:
        return self.views.keys(self.rotation)

    async def _install_key(self, request: web.Request) -> Any:
        body = await read_body(request, KeyBody)
        await self.rotation.install(parse_key(body.key))
        return self.views.keys(self.rotation)

    async def _use_key(self, request: web.Request) -> Any:
        body = await read_body(request, ForceBody)
        await self.rotation.use(request.match_info["id"], force=body.force)
        return self.views.keys(self.rotation)

    async def _remove_key(self, request: web.Request) -> Any:
        body = await read_body(request, ForceBody)
        await self.rotation.remove(request.match_info["id"], force=body.force)
        return self.views.keys(self.rotation)


async def read_body(request: web.Request, kind: type[T]) -> T:
    """A request's body. Raises msgspec.DecodeError."""
    return msgspec.json.decode(await request.read(), type=kind)
