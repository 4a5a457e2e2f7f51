"""Changing the cluster's key while it runs: install everywhere, use, remove, and keep each step."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vxnet.control.gossip import GossipControl
from vxnet.control.keyfile import write_keys
from vxnet.errors import WireError
from vxnet.gossip.events import MemberState

__all__ = ["KeyState", "Rotation"]

LIVE: Final = (MemberState.ALIVE, MemberState.SUSPECT)


@dataclass(frozen=True, slots=True)
class KeyState:
    """A key of this host. Members are named; those that have left or died do not count."""

    id: str
    in_use: bool
    accepted_by: tuple[str, ...]
    lacking_on: tuple[str, ...]


class Rotation:
    """The keys of one host. What is changed is in the key file before the answer is given."""

    def __init__(self, control: GossipControl, file: Path | None) -> None:
        self._control = control
        self._file = file
        self._verb = asyncio.Lock()

    def states(self) -> list[KeyState]:
        """The keys, the one in use first. Raises StateError where gossip is not encrypted."""
        keys = self._control.keys
        members = self._control.members()
        names = {member.id: member.name for member in members if member.state in LIVE}
        here = next(member.id for member in members if member.local)
        found = []
        for kid, holders in keys.holders().items():
            accepting = {*holders, here}
            found.append(
                KeyState(
                    id=kid.hex(),
                    in_use=kid == keys.ring.primary,
                    accepted_by=tuple(sorted(names[m] for m in accepting & names.keys())),
                    lacking_on=tuple(sorted(names[m] for m in names.keys() - accepting)),
                )
            )
        return found

    async def install(self, key: bytes) -> str:
        """Accept a key from now on; its id. One that is accepted already stays as it is."""
        async with self._kept():
            kid = self._control.keys.install(key, self._control.now())
        return kid.hex()

    async def use(self, kid: str, *, force: bool = False) -> None:
        """Seal with a key. Raises StateError while a live member does not accept it."""
        async with self._kept():
            self._control.keys.use(_kid(kid), self._control.now(), force=force)

    async def remove(self, kid: str, *, force: bool = False) -> None:
        """Accept a key no longer. Raises StateError where that would lose a member."""
        async with self._kept():
            self._control.keys.remove(_kid(kid), self._control.now(), force=force)

    @asynccontextmanager
    async def _kept(self) -> AsyncIterator[None]:
        """One change at a time; what cannot be written down is taken back."""
        async with self._verb:
            keys = self._control.keys
            before = keys.ring.keys
            yield
            try:
                if self._file is not None:
                    await asyncio.to_thread(write_keys, self._file, keys.ring.keys)
            except BaseException:
                keys.restore(before, self._control.now())
                raise


def _kid(text: str) -> bytes:
    try:
        kid = bytes.fromhex(text)
    except ValueError:
        kid = b""
    if len(kid) != 4:
        raise WireError(f"{text!r} is no key's id; `vxnet keys list` shows them")
    return kid
