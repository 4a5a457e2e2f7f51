"""Docker's own API, asked for the names of networks and containers; never within a call of its."""

from typing import Any, Final, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from msgspec import Struct, field

from vxnet.errors import UNREADABLE, HostError

__all__ = ["Engine", "EngineNetwork"]

PATIENCE_S: Final = 5.0
ANSWER_BYTES_MAX: Final = 16 << 20

T = TypeVar("T")


class EngineContainer(Struct, frozen=True):
    """A container in a network."""

    name: str = field(name="Name", default="")
    endpoint: str = field(name="EndpointID", default="")


class EngineNetwork(Struct, frozen=True):
    """A network as Docker has it."""

    id: str = field(name="Id")
    name: str = field(name="Name")
    driver: str = field(name="Driver", default="")
    containers: dict[str, EngineContainer] | None = field(name="Containers", default=None)


class Engine:
    """dockerd behind its Unix socket."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def network(self, network: str) -> EngineNetwork | None:
        """One network, with its containers; None where Docker has none of this id."""
        return await self._get(f"/networks/{quote(network, safe='')}", EngineNetwork)

    async def networks(self) -> list[EngineNetwork]:
        """Every network there is, without containers."""
        return await self._get("/networks", list[EngineNetwork]) or []

    async def _get(self, path: str, kind: type[T]) -> T | None:
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        connector = aiohttp.UnixConnector(self._path)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
                session.get(f"http://docker{path}") as answer,
            ):
                if answer.status == 404:
                    return None
                body = await answer.content.read(ANSWER_BYTES_MAX)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            reason = str(error) or f"no answer within {PATIENCE_S:.0f} s"
            raise HostError(f"Docker's API at {self._path} cannot be asked: {reason}") from None
        try:
            found: Any = msgspec.json.decode(body, type=kind)
        except UNREADABLE as error:
            raise HostError(f"Docker's API at {self._path} answered {path}: {error}") from None
        return found  # type: ignore[no-any-return]
