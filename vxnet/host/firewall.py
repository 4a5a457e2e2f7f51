"""A table of our own in the kernel's packet filter, replaced as a whole (libnftables, no process).

The table is in the namespace of the daemon. A set of rules is text in nft's language, made only of
numbers, addresses and names that were checked before.
"""

import ctypes
import json
from typing import Any, Final

from vxnet.errors import HostError
from vxnet.host.namespace import run_inside

__all__ = ["DockerForwardPass", "NftFirewall", "read_ruleset"]

LIBRARY: Final = "libnftables.so.1"
DOCKER_CHAIN: Final = "ip filter DOCKER-USER"
NFT_CTX_DEFAULT: Final = 0
NFT_CTX_OUTPUT_JSON: Final = 1 << 4  # nftables/libnftables.h


class NftFirewall:
    """One table of family inet, that nobody else should touch."""

    def __init__(self, table: str) -> None:
        """`table` is a name of letters, digits and underscores."""
        self._table = table
        self._wanted: str | None = None
        self._installed: object = None

    async def replace(self, chains: str) -> None:
        """Have exactly these chains, all at once. Raises HostError where the kernel refuses."""
        await run_inside(None, lambda: self._install(chains))
        self._wanted = chains

    async def remove(self) -> None:
        """Have no table. Idempotent."""
        self._wanted = None
        # Adding first makes deleting right whether it is there or not.
        text = f"add table inet {self._table}\ndelete table inet {self._table}\n"
        await run_inside(None, lambda: _run(text))

    async def restore(self) -> bool:
        """Put the chains back where somebody changed or flushed them; says whether that was so."""
        wanted = self._wanted
        if wanted is None:
            return False
        return await run_inside(None, lambda: self._compare(wanted))

    def _install(self, chains: str) -> None:
        name = self._table
        text = f"add table inet {name}\ndelete table inet {name}\n"
        _run(f"{text}table inet {name} {{\n{chains}\n}}\n")
        self._installed = self._look()

    def _compare(self, wanted: str) -> bool:
        if self._look() == self._installed:
            return False
        self._install(wanted)
        return True

    def _look(self) -> object:
        """The table without what changes by itself; None where it is gone."""
        try:
            listed = json.loads(_run(f"list table inet {self._table}", as_json=True))
        except HostError:
            return None
        return [_without_handles(item) for item in listed["nftables"] if "metainfo" not in item]


class DockerForwardPass:
    """Docker has the host drop what it routes; what its users let pass is in a chain of theirs."""

    def __init__(self, prefix: str) -> None:
        """`prefix` is what the names of our devices begin with."""
        self._rules = (
            f'oifname "{prefix}*" ct status dnat accept',
            f'oifname "{prefix}*" ct state established,related accept',
            f'iifname "{prefix}*" accept',
        )

    async def ensure(self) -> bool:
        return await run_inside(None, self._ensure)

    def _ensure(self) -> bool:
        try:
            there = _run(f"list chain {DOCKER_CHAIN}")
        except HostError:
            return False  # no Docker, or one whose rules are not nftables'
        missing = [rule for rule in self._rules if _key(rule) not in map(_key, there.splitlines())]
        if missing:
            _run("".join(f"insert rule {DOCKER_CHAIN} {rule}\n" for rule in missing))
        return True


def _key(rule: str) -> frozenset[str]:
    """A rule's words: nft lists them with counters, and states in an order of its own."""
    return frozenset(rule.replace(",", " ").split())


async def read_ruleset() -> list[dict[str, Any]]:
    """Everybody's rules in this namespace, as `nft -j list ruleset` has them. Raises HostError."""
    text = await run_inside(None, lambda: _run("list ruleset", as_json=True))
    ruleset: list[dict[str, Any]] = json.loads(text)["nftables"] if text else []
    return ruleset


def _without_handles(item: object) -> object:
    match item:
        case dict():
            return {key: _without_handles(value) for key, value in item.items() if key != "handle"}
        case list():
            return [_without_handles(element) for element in item]
        case _:
            return item


def _run(text: str, *, as_json: bool = False) -> str:
    """Carry out nft's language in one transaction; returns what it says."""
    library = _library()
    context = library.nft_ctx_new(NFT_CTX_DEFAULT)
    if not context:
        raise HostError("the packet filter cannot be reached: libnftables gives no context")
    try:
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        if as_json:
            library.nft_ctx_output_set_flags(context, NFT_CTX_OUTPUT_JSON)
        status = library.nft_run_cmd_from_buffer(context, text.encode())
        if status != 0:
            said = library.nft_ctx_get_error_buffer(context).decode(errors="replace")
            first = said.strip().splitlines()[0] if said.strip() else f"status {status}"
            raise HostError(f"the packet filter refuses our rules: {first}")
        output: bytes = library.nft_ctx_get_output_buffer(context)
        return output.decode(errors="replace")
    finally:
        library.nft_ctx_free(context)


def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        raise HostError(
            f"{LIBRARY} is missing, which bridge networks need; "
            "install it with: apt install libnftables1"
        ) from None
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    library.nft_ctx_free.argtypes = [ctypes.c_void_p]
    library.nft_ctx_buffer_output.argtypes = [ctypes.c_void_p]
    library.nft_ctx_buffer_error.argtypes = [ctypes.c_void_p]
    library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
    library.nft_ctx_get_error_buffer.argtypes = [ctypes.c_void_p]
    library.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
    library.nft_ctx_get_output_buffer.argtypes = [ctypes.c_void_p]
    return library
