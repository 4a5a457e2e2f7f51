"""What `docker network create -o` and `--ipam-opt` may say."""

import difflib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from vxnet.cnm.libnetwork import GENERIC, MTU
from vxnet.drivers import overlay
from vxnet.errors import StateError
from vxnet.networks import check_name
from vxnet.wire.addr import VNI_MAX

__all__ = ["Wishes", "read_options", "read_pool_name"]

PREFIXES: Final = ("com.vxnet.", "vxnet.")
OWN: Final = frozenset({"network", "vni", "mtu"})
KNOWN: Final = OWN | overlay.OPTIONS - {overlay.MADE_BY}
MTU_MAX: Final = 65_535

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What somebody wants of a Docker network beyond its subnets."""

    name: str = ""
    """The vxnet network it shall be; "": the one that is called like it."""
    vni: int | None = None
    mtu: int | None = None
    options: dict[str, str] = field(default_factory=dict)


def read_options(options: Mapping[str, Any] | None) -> Wishes:
    """Of a CreateNetwork. Raises StateError for what cannot be meant.

    Options of others are ignored, as Docker's own drivers do, unless they look like a slip.
    """
    generic = (options or {}).get(GENERIC) or {}
    if not isinstance(generic, Mapping):
        raise StateError("the network's options are no table")
    found: dict[str, str] = {}
    for key, value in generic.items():
        name = _plain(str(key))
        if name in KNOWN:
            found[name] = str(value)
        elif close := difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.75):
            raise StateError(f"there is no option {key}; did you mean -o {close[0]}={value}?")
        else:
            _log.warning("an option of a Docker network is not ours", {"option": key})
    if name := found.pop("network", ""):
        check_name("network", name)
    return Wishes(
        name=name,
        vni=_number("vni", found.pop("vni", None), VNI_MAX),
        mtu=_number("mtu", found.pop("mtu", None), MTU_MAX),
        options=found,
    )


def read_pool_name(options: Mapping[str, str] | None) -> str:
    """The network that `--ipam-opt network=NAME` means, or "". Raises StateError."""
    name = next((v for k, v in (options or {}).items() if _plain(k) == "network"), "")
    if name:
        check_name("network", name)
    return name


def _plain(key: str) -> str:
    if key == MTU:
        return "mtu"
    for prefix in PREFIXES:
        key = key.removeprefix(prefix)
    return key


def _number(name: str, text: str | None, last: int) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and int(text) <= last):
        raise StateError(f"-o {name}={text}: it is a number from 0 to {last}")
    return int(text)
