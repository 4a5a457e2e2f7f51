"""Docker's own API, asked for the names of networks and containers; never within a call of its."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from msgspec import Struct, field

from vxnet.errors import UNREADABLE, HostError

__all__ = [
    "Engine",
    "EngineAttachment",
    "EngineAttachments",
    "EngineConfig",
    "EngineContainer",
    "EngineContainerState",
    "EngineHostConfig",
    "EngineNetwork",
    "EngineRestartPolicy",
    "EngineState",
]

PATIENCE_S: Final = 5.0
STARTS_WITHIN_S: Final = 60.0
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


class EngineState(Struct, frozen=True):
    """How a container is."""

    error: str = field(name="Error", default="")


class EngineRestartPolicy(Struct, frozen=True):
    """When dockerd starts a container by itself."""

    name: str = field(name="Name", default="")


class EngineHostConfig(Struct, frozen=True):
    """What a container was told of its host."""

    restart_policy: EngineRestartPolicy = field(name="RestartPolicy", default=EngineRestartPolicy())


class EngineConfig(Struct, frozen=True):
    """What a container was made with."""

    labels: dict[str, str] | None = field(name="Labels", default=None)


class EngineAttachment(Struct, frozen=True):
    """A container in a network, as it tells itself."""

    endpoint: str = field(name="EndpointID", default="")
    aliases: list[str] | None = field(name="Aliases", default=None)


class EngineAttachments(Struct, frozen=True):
    """The networks of a container, by their names."""

    networks: dict[str, EngineAttachment] = field(name="Networks", default={})


class EngineContainerState(Struct, frozen=True):
    """A container by itself."""

    id: str = field(name="Id")
    name: str = field(name="Name", default="")
    state: EngineState = field(name="State", default=EngineState())
    host_config: EngineHostConfig = field(name="HostConfig", default=EngineHostConfig())
    config: EngineConfig = field(name="Config", default=EngineConfig())
    settings: EngineAttachments = field(name="NetworkSettings", default=EngineAttachments())

    @property
    def starts_itself(self) -> bool:
        """Whether dockerd starts it when it starts itself."""
        return self.host_config.restart_policy.name not in ("", "no")


class _Listed(Struct, frozen=True):
    id: str = field(name="Id")


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

    async def container(self, container: str) -> EngineContainerState | None:
        """One container; None where Docker has none of this id."""
        return await self._get(
            f"/containers/{quote(container, safe='')}/json", EngineContainerState
        )

    async def stopped(self, networks: list[str]) -> list[EngineContainerState]:
        """The containers in these networks that do not run."""
        filters = {"status": ["created", "exited"], "network": networks}
        query = {"all": "1", "filters": msgspec.json.encode(filters).decode()}
        listed = await self._get("/containers/json", list[_Listed], query) or []
        found = [await self.container(c.id) for c in listed]
        return [container for container in found if container is not None]

    async def start(self, container: str) -> None:
        """Start a container. Raises HostError where dockerd refuses."""
        path = f"/containers/{quote(container, safe='')}/start"
        status, body = await self._ask("POST", path, patience_s=STARTS_WITHIN_S)
        if status >= 400:
            raise HostError(
                f"Docker cannot start the container {container[:12]}: "
                f"{body.decode(errors='replace').strip()}"
            )

    async def _get(
        self, path: str, kind: type[T], query: Mapping[str, str] | None = None
    ) -> T | None:
        status, body = await self._ask("GET", path, query)
        if status == 404:
            return None
        try:
            found: Any = msgspec.json.decode(body, type=kind)
        except UNREADABLE as error:
            raise HostError(f"Docker's API at {self._path} answered {path}: {error}") from None
        return found  # type: ignore[no-any-return]

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        patience_s: float = PATIENCE_S,
    ) -> tuple[int, bytes]:
        timeout = aiohttp.ClientTimeout(total=patience_s)
        connector = aiohttp.UnixConnector(self._path)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
                session.request(method, f"http://docker{path}", params=query) as answer,
            ):
                return answer.status, await answer.content.read(ANSWER_BYTES_MAX)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            reason = str(error) or f"no answer within {patience_s:.0f} s"
            raise HostError(f"Docker's API at {self._path} cannot be asked: {reason}") from None
