"""The control API: HTTP and JSON on a Unix socket that only root and its group may use."""

import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from aiohttp import web

from vxnet.api.model import (
    ErrorView,
)
from vxnet.api.routes import Handler, Route
from vxnet.errors import HostError, StateError, VxnetError

__all__ = ["ApiServer"]

SOCKET_MODE: Final = 0o660
BODY_BYTES_MAX: Final = 1 << 20
STATUS: Final = {StateError: 409, HostError: 500}
"""Everything else that is a VxnetError is a request that says something unreadable: 400."""

_log = logging.getLogger(__name__)


class ApiServer:
    """Answers on one socket, from `start` to `close`."""

    def __init__(self, path: Path, routes: Sequence[Route]) -> None:
        self._path = path
        self._routes = routes
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Take the socket. Raises HostError where another daemon has it, or it cannot be made."""
        app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[_tell_errors])
        for method, path, handler in self._routes:
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
