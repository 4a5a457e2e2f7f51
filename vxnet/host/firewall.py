"""A table of our own in the kernel's packet filter, replaced as a whole (libnftables, no process).

The table is in the namespace of the daemon. A set of rules is text in nft's language, made only of
numbers, addresses and names that were checked before.
"""

import asyncio
import ctypes
import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final

from vxnet.errors import HostError
from vxnet.host.namespace import run_inside

__all__ = ["DockerForwardPass", "NftFirewall", "read_legacy", "read_ruleset"]

LIBRARY: Final = "libnftables.so.1"
LEGACY_TABLES: Final = Path("/proc/self/net/ip_tables_names")
DOCKER_CHAINS: Final = ("ip filter DOCKER-USER", "ip6 filter DOCKER-USER")
COUNTERS: Final = re.compile(r"counter packets \d+ bytes \d+ ")
NFT_CTX_DEFAULT: Final = 0
NFT_CTX_OUTPUT_HANDLE: Final = 1 << 3  # nftables/libnftables.h
NFT_CTX_OUTPUT_JSON: Final = 1 << 4


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
            text = _run(f"list table inet {self._table}", NFT_CTX_OUTPUT_JSON)
        except HostError:
            return None
        listed = json.loads(text)["nftables"]
        return [_without_handles(item) for item in listed if "metainfo" not in item]


class DockerForwardPass:
    """Docker has the host drop what it routes; what its users let pass is in a chain of theirs.

    One rule that iptables cannot read (`ct`, say) has it refuse to show the whole table.
    """

    def __init__(self, prefix: str) -> None:
        """`prefix` is what the names of our devices begin with."""
        self._rules = (f'oifname "{prefix}*" accept', f'iifname "{prefix}*" accept')

    async def ensure(self) -> bool:
        return await run_inside(None, self._ensure)

    async def remove(self) -> None:
        await run_inside(None, self._remove)

    def _ensure(self) -> bool:
        found = False
        for chain in DOCKER_CHAINS:
            there = _listed(chain)
            if there is None:
                continue
            found = True
            missing = [rule for rule in self._rules if rule not in there]
            if missing:
                _run("".join(f"insert rule {chain} {rule}\n" for rule in missing))
        return found

    def _remove(self) -> None:
        for chain in DOCKER_CHAINS:
            there = _listed(chain) or {}
            handles = [there[rule] for rule in self._rules if rule in there]
            if handles:
                _run("".join(f"delete rule {chain} handle {handle}\n" for handle in handles))


def _listed(chain: str) -> dict[str, str] | None:
    """The handles of a chain's rules, by their text; None where there is no such chain."""
    try:
        text = _run(f"list chain {chain}", NFT_CTX_OUTPUT_HANDLE)
    except HostError:
        return None  # no Docker, or one whose rules are not nftables'
    lines = (line.partition(" # handle ") for line in text.splitlines())
    # Those that iptables wrote anew have counters.
    return {COUNTERS.sub("", rule).strip(): handle for rule, mark, handle in lines if mark}


async def read_ruleset() -> list[dict[str, Any]]:
    """Everybody's rules in this namespace, as `nft -j list ruleset` has them. Raises HostError."""
    text = await run_inside(None, lambda: _run("list ruleset", NFT_CTX_OUTPUT_JSON))
    ruleset: list[dict[str, Any]] = json.loads(text)["nftables"] if text else []
    return ruleset


async def read_legacy() -> str:
    """The filter of iptables' older kind, as its `-S` has it; "" where there is none.

    Raises HostError.
    """
    try:
        if "filter" not in LEGACY_TABLES.read_text(encoding="ascii").split():
            return ""
        asked = await asyncio.create_subprocess_exec(
            "iptables-legacy", "-S", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except FileNotFoundError:  # a kernel without it, or a host without the program
        return ""
    except OSError as error:
        raise HostError(f"iptables-legacy cannot be asked: {error.strerror}") from None
    said, _ = await asked.communicate()
    return said.decode(errors="replace")


def _without_handles(item: object) -> object:
    match item:
        case dict():
            return {key: _without_handles(value) for key, value in item.items() if key != "handle"}
        case list():
            return [_without_handles(element) for element in item]
        case _:
            return item


def _run(text: str, flags: int = 0) -> str:
    """Carry out nft's language in one transaction; returns what it says."""
    library = _library()
    context = library.nft_ctx_new(NFT_CTX_DEFAULT)
    if not context:
        raise HostError("the packet filter cannot be reached: libnftables gives no context")
    try:
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        library.nft_ctx_output_set_flags(context, flags)
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
