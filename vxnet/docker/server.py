"""The plugin's socket: JSON posted by dockerd, answered by the two drivers."""

import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from vxnet.cnm import libnetwork
from vxnet.cnm.libnetwork import Activated
from vxnet.docker.answers import BODY_BYTES_MAX, answer, refuse
from vxnet.docker.driver import DockerDriver
from vxnet.docker.ipam import IpamDriver
from vxnet.errors import UNREADABLE, HostError, VxnetError
from vxnet.host.unix import listen

__all__ = ["PluginServer", "calls"]

_log = logging.getLogger(__name__)


class Call(NamedTuple):
    """What a path means: the message it carries, if any, and who answers."""

    message: Any
    answer: Callable[..., Awaitable[Any]]


def calls(network: DockerDriver, ipam: IpamDriver) -> Mapping[str, Call]:
    """Every call of both protocols."""
    return {
        "Plugin.Activate": Call(None, _activate),
        "NetworkDriver.GetCapabilities": Call(None, network.capabilities),
        "NetworkDriver.AllocateNetwork": Call(libnetwork.CreateNetwork, network.allocate),
        "NetworkDriver.FreeNetwork": Call(libnetwork.NetworkNames, network.free),
        "NetworkDriver.CreateNetwork": Call(libnetwork.CreateNetwork, network.create_network),
        "NetworkDriver.DeleteNetwork": Call(libnetwork.NetworkNames, network.delete_network),
        "NetworkDriver.CreateEndpoint": Call(libnetwork.CreateEndpoint, network.create_endpoint),
        "NetworkDriver.DeleteEndpoint": Call(libnetwork.EndpointNames, network.delete_endpoint),
        "NetworkDriver.EndpointOperInfo": Call(libnetwork.EndpointNames, network.info),
        "NetworkDriver.Join": Call(libnetwork.Join, network.join),
        "NetworkDriver.Leave": Call(libnetwork.EndpointNames, network.leave),
        "NetworkDriver.ProgramExternalConnectivity": Call(
            libnetwork.ProgramConnectivity, network.program
        ),
        "NetworkDriver.RevokeExternalConnectivity": Call(libnetwork.EndpointNames, network.revoke),
        "NetworkDriver.DiscoverNew": Call(msgspec.Raw, network.discover),
        "NetworkDriver.DiscoverDelete": Call(msgspec.Raw, network.discover),
        "IpamDriver.GetCapabilities": Call(None, ipam.capabilities),
        "IpamDriver.GetDefaultAddressSpaces": Call(None, ipam.address_spaces),
        "IpamDriver.RequestPool": Call(libnetwork.PoolRequest, ipam.request_pool),
        "IpamDriver.ReleasePool": Call(libnetwork.PoolRelease, ipam.release_pool),
        "IpamDriver.RequestAddress": Call(libnetwork.AddressRequest, ipam.request_address),
        "IpamDriver.ReleaseAddress": Call(libnetwork.AddressRelease, ipam.release_address),
    }


class PluginServer:
    """Answers on one socket, from `start` to `close`; a `.spec` file may say where that is.

    `listener` is the socket where it is there already.
    """

    def __init__(
        self,
        path: Path,
        spec: Path | None,
        known: Mapping[str, Call],
        listener: socket.socket | None = None,
    ) -> None:
        self._socket = path
        self._spec = spec
        self._calls = known
        self._listener = listener
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Take the socket. Raises HostError where another has it, or it cannot be made."""
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_post("/{call}", self._answer)
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        try:
            listener = self._listener or listen(self._socket, "docker.socket")
            await web.SockSite(runner, listener).start()
            if self._spec is not None:
                _write(self._spec, f"unix://{self._socket}\n")
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner

    async def close(self) -> None:
        """Stop answering, and take away what says where we are. Idempotent."""
        if self._runner is not None:
            self._socket.unlink(missing_ok=True)
            if self._spec is not None:
                with suppress(OSError):
                    self._spec.unlink(missing_ok=True)
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.Response:
        """dockerd shows the reason of a refusal to whoever asked it."""
        name = request.match_info["call"]
        call = self._calls.get(name)
        if call is None:
            return refuse(f"vxnet has no call {name[:80]}", 404)
        try:
            return answer(await _carry_out(call, await request.read()))
        except VxnetError as error:
            _log.info("Docker was refused", {"call": name, "reason": error})
            return refuse(str(error))
        except UNREADABLE as error:
            return refuse(f"{name} cannot be read: {error}", 400)
        except web.HTTPException:
            raise
        except Exception:
            _log.exception("a call of Docker's met a fault", {"call": name})
            return refuse("vxnet met a fault of its own; its log has the details", 500)


async def _carry_out(call: Call, body: bytes) -> Any:
    if call.message is None:
        answer = await call.answer()
    else:
        answer = await call.answer(msgspec.json.decode(body, type=call.message))
    return {} if answer is None else answer


async def _activate() -> Activated:
    return Activated(("NetworkDriver", "IpamDriver"))


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise HostError(
            f"{path} cannot be written: {error.strerror}; choose another docker.spec"
        ) from None
