"""The control API: HTTP and JSON on a Unix socket that only root and its group may use."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from aiohttp import web

from vxnet.api.model import (
    ErrorView,
)
from vxnet.api.routes import Handler, Route
from vxnet.errors import UNREADABLE, HostError, StateError, VxnetError
from vxnet.host.unix import listen

__all__ = ["ApiServer"]

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
            await web.SockSite(runner, listen(self._path, "node.socket")).start()
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
        document = await handler(request)
        # A handler that has more to say than one document answers by itself.
        return document if isinstance(document, web.StreamResponse) else _json(document)

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
    except UNREADABLE as error:
        return _json(ErrorView(f"the request cannot be read: {error}"), 400)
    except web.HTTPException as error:
        return _json(ErrorView(f"{request.method} {request.path}: {error.reason}"), error.status)
    except Exception:
        _log.exception("a request met a fault", {"method": request.method, "path": request.path})
        return _json(ErrorView("the daemon met a fault of its own; its log has the details"), 500)
