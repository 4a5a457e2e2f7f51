"""Plugins in Docker's plugin directories: sockets, and files that say where one is."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from vxnet.errors import HostError

__all__ = ["PLUGIN_DIRECTORIES", "HttpPlugin", "find_plugin"]

PLUGIN_DIRECTORIES: Final = (
    Path("/run/docker/plugins"),
    Path("/etc/docker/plugins"),
    Path("/usr/lib/docker/plugins"),
)
PATIENCE_S: Final = 15.0
ANSWER_BYTES_MAX: Final = 1 << 20


class HttpPlugin:
    """A plugin behind `unix:///path.sock` or `tcp://host:port`."""

    def __init__(self, name: str, address: str) -> None:
        self._name = name
        self._address = urlsplit(address)
        if self._address.scheme not in ("unix", "tcp", "http"):
            raise HostError(f"the plugin {name} is at {address}; unix:// and tcp:// are understood")

    async def call(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        """Post a body, and return the answer. Raises HostError where there is none."""
        unix = self._address.scheme == "unix"
        connector = aiohttp.UnixConnector(self._address.path) if unix else None
        base = "http://plugin" if unix else f"http://{self._address.netloc}"
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
                session.post(f"{base}/{method}", data=msgspec.json.encode(body)) as answer,
            ):
                content = await answer.content.read(ANSWER_BYTES_MAX)
        except TimeoutError:
            raise HostError(
                f"the plugin {self._name} did not answer {method} within {PATIENCE_S:.0f} s"
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise HostError(f"the plugin {self._name} cannot be reached: {error}") from None
        try:
            return msgspec.json.decode(content or b"{}", type=dict[str, Any])
        except msgspec.DecodeError:
            raise HostError(
                f"the plugin {self._name} answered {method} with status {answer.status} "
                "and no JSON object"
            ) from None


def find_plugin(name: str, directories: tuple[Path, ...] = PLUGIN_DIRECTORIES) -> HttpPlugin | None:
    """The plugin of this name, if there is one. A socket comes before a `.spec` or `.json`."""
    for directory in directories:
        for candidate in (directory / f"{name}.sock", directory / name / f"{name}.sock"):
            if candidate.is_socket():
                return HttpPlugin(name, f"unix://{candidate}")
    for directory in directories:
        spec, described = directory / f"{name}.spec", directory / f"{name}.json"
        try:
            if spec.is_file():
                return HttpPlugin(name, spec.read_text(encoding="utf-8").strip())
            if described.is_file():
                document = msgspec.json.decode(described.read_bytes(), type=dict[str, Any])
                return HttpPlugin(name, str(document.get("Addr", "")))
        except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
            raise HostError(f"the plugin {name} is described wrongly: {error}") from None
    return None
