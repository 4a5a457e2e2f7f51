"""The control API: HTTP and JSON on a Unix socket that only root and its group may use."""

import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web

from vxnet.api.model import (
    AttachBody,
    EndpointBody,
    ErrorView,
    ForceBody,
    JoinBody,
    KeyBody,
    NetworkBody,
    VerifyView,
)
from vxnet.api.requests import endpoint_request, network_request, sandbox_of
from vxnet.api.views import Views
from vxnet.control.keyfile import parse_key
from vxnet.control.rotation import Rotation
from vxnet.endpoints import Endpoints
from vxnet.errors import HostError, StateError, VxnetError
from vxnet.networks import Networks

__all__ = ["ApiServer"]

SOCKET_MODE: Final = 0o660
BODY_BYTES_MAX: Final = 1 << 20
STATUS: Final = {StateError: 409, HostError: 500}
"""Everything else that is a VxnetError is a request that says something unreadable: 400."""

Handler = Callable[[web.Request], Awaitable[Any]]
T = TypeVar("T")
_log = logging.getLogger(__name__)


class ApiServer:
    """Answers on one socket, from `start` to `close`."""

    def __init__(
        self,
        path: Path,
        views: Views,
        networks: Networks,
        endpoints: Endpoints,
        rotation: Rotation,
    ) -> None:
        self._path = path
        self._views = views
        self._networks = networks
        self._endpoints = endpoints
        self._rotation = rotation
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Take the socket. Raises HostError where another daemon has it, or it cannot be made."""
        app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[_tell_errors])
        for method, path, handler in self._routes():
            app.router.add_route(method, path, _as_json(handler))
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        try:
            await web.SockSite(runner, _listen(self._path)).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner

    async def close(self) -> None:
        """Stop answering, and take the socket's file away. Idempotent."""
        if self._runner is not None:
            self._path.unlink(missing_ok=True)
            await self._runner.cleanup()
            self._runner = None

    def _routes(self) -> Sequence[tuple[str, str, Handler]]:
        return (
            ("GET", "/v1/status", self._status),
            ("GET", "/v1/peers", self._peers),
            ("GET", "/v1/stats", self._stats),
            ("GET", "/v1/fdb", self._fdb),
            ("GET", "/v1/fdb/verify", self._verify),
            ("GET", "/v1/networks", self._list_networks),
            ("POST", "/v1/networks", self._create_network),
            ("GET", "/v1/networks/{name}", self._inspect_network),
            ("DELETE", "/v1/networks/{name}", self._remove_network),
            ("GET", "/v1/endpoints", self._list_endpoints),
            ("POST", "/v1/endpoints", self._create_endpoint),
            ("GET", "/v1/endpoints/{name}", self._inspect_endpoint),
            ("DELETE", "/v1/endpoints/{name}", self._remove_endpoint),
            ("POST", "/v1/endpoints/{name}/join", self._join),
            ("POST", "/v1/endpoints/{name}/leave", self._leave),
            ("POST", "/v1/attach", self._attach),
            ("GET", "/v1/history/{about:mac|ip|peer}/{value}", self._history),
            ("GET", "/v1/keys", self._list_keys),
            ("POST", "/v1/keys", self._install_key),
            ("POST", "/v1/keys/{id}/use", self._use_key),
            ("POST", "/v1/keys/{id}/remove", self._remove_key),
        )

    async def _status(self, _: web.Request) -> Any:
        return self._views.status()

    async def _peers(self, _: web.Request) -> Any:
        return self._views.members()

    async def _stats(self, _: web.Request) -> Any:
        return self._views.stats()

    async def _fdb(self, request: web.Request) -> Any:
        return self._views.fdb(request.query.get("network"))

    async def _verify(self, _: web.Request) -> Any:
        problems = tuple(self._views.forwarding.verify())
        return VerifyView(not problems, problems)

    async def _list_networks(self, _: web.Request) -> Any:
        return [self._views.network(network) for network in self._networks]

    async def _create_network(self, request: web.Request) -> Any:
        wanted = network_request(await _body(request, NetworkBody))
        return self._views.network(await self._networks.create(wanted))

    async def _inspect_network(self, request: web.Request) -> Any:
        return self._views.network(self._networks.get(request.match_info["name"]))

    async def _remove_network(self, request: web.Request) -> Any:
        network = self._views.network(self._networks.get(request.match_info["name"]))
        await self._networks.remove(network.name)
        return network

    async def _list_endpoints(self, request: web.Request) -> Any:
        name = request.query.get("network")
        only = None if name is None else self._networks.get(name).id
        return [
            self._views.endpoint(endpoint)
            for endpoint in self._endpoints
            if only is None or endpoint.network == only
        ]

    async def _create_endpoint(self, request: web.Request) -> Any:
        wanted = endpoint_request(await _body(request, EndpointBody))
        return self._views.endpoint(await self._endpoints.create(wanted))

    async def _inspect_endpoint(self, request: web.Request) -> Any:
        return self._views.endpoint(self._endpoints.get(request.match_info["name"]))

    async def _remove_endpoint(self, request: web.Request) -> Any:
        return self._views.endpoint(await self._endpoints.remove(request.match_info["name"]))

    async def _join(self, request: web.Request) -> Any:
        body = await _body(request, JoinBody)
        name = request.match_info["name"]
        endpoint = await self._endpoints.join(name, sandbox_of(body), body.ifname)
        return self._views.endpoint(endpoint)

    async def _leave(self, request: web.Request) -> Any:
        return self._views.endpoint(await self._endpoints.leave(request.match_info["name"]))

    async def _attach(self, request: web.Request) -> Any:
        body = await _body(request, AttachBody)
        wanted = endpoint_request(body.endpoint)
        endpoint = await self._endpoints.attach(wanted, sandbox_of(body.join), body.join.ifname)
        return self._views.endpoint(endpoint)

    async def _history(self, request: web.Request) -> Any:
        return self._views.history(request.match_info["about"], request.match_info["value"])

    async def _list_keys(self, _: web.Request) -> Any:
        return self._views.keys(self._rotation)

    async def _install_key(self, request: web.Request) -> Any:
        body = await _body(request, KeyBody)
        await self._rotation.install(parse_key(body.key))
        return self._views.keys(self._rotation)

    async def _use_key(self, request: web.Request) -> Any:
        body = await _body(request, ForceBody)
        await self._rotation.use(request.match_info["id"], force=body.force)
        return self._views.keys(self._rotation)

    async def _remove_key(self, request: web.Request) -> Any:
        body = await _body(request, ForceBody)
        await self._rotation.remove(request.match_info["id"], force=body.force)
        return self._views.keys(self._rotation)


async def _body(request: web.Request, kind: type[T]) -> T:
    return msgspec.json.decode(await request.read(), type=kind)


def _as_json(handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        return _json(await handler(request))

    return answer


def _json(document: Any, status: int = 200) -> web.Response:
    body = msgspec.json.encode(document)
    return web.Response(body=body, status=status, content_type="application/json")


@web.middleware
async def _tell_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The one place where what went wrong becomes a status and a sentence."""
    try:
        answer: web.StreamResponse = await handler(request)
        return answer
    except VxnetError as error:
        return _json(ErrorView(str(error)), STATUS.get(type(error), 400))
    except msgspec.DecodeError as error:
        return _json(ErrorView(f"the request cannot be read: {error}"), 400)
    except web.HTTPException as error:
        return _json(ErrorView(f"{request.method} {request.path}: {error.reason}"), error.status)
    except Exception:
        _log.exception("a request met a fault", {"method": request.method, "path": request.path})
        return _json(ErrorView("the daemon met a fault of its own; its log has the details"), 500)


def _listen(path: Path) -> socket.socket:
    """A listening socket at this path. What a dead daemon left there is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _clear(path)
        mask = os.umask(0o777 & ~SOCKET_MODE)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise HostError(
            f"the socket {path} cannot be made: {error.strerror or error}; "
            "choose another node.socket"
        ) from None
    except BaseException:
        listener.close()
        raise
    return listener


def _clear(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise HostError(f"{path} is there and is not a socket; choose another node.socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # its queue is full, so somebody listens
    raise HostError(f"another daemon answers on {path}; stop it, or choose another node.socket")
