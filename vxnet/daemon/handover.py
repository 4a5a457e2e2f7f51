"""From one daemon to the next at a restart, so that no frame is lost between the two.

Descriptors go by way of systemd's store: TAPs, whose device queues what its sandbox sends, and the
sockets of the VXLAN port, which keep what arrives. What gossip has told goes by way of the disk, so
that the next daemon forwards before it has heard anything itself.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from vxnet.datapath.base import Datapath
from vxnet.drivers.overlay import OverlayDriver
from vxnet.errors import UNREADABLE, HostError, StateError
from vxnet.forwarding import Forwarding, Presumed
from vxnet.host import systemd
from vxnet.host.base import Store
from vxnet.host.namespace import identity_of
from vxnet.link.tap import Tap
from vxnet.wire.addr import Vtep, format_ip

__all__ = ["Handover", "Inheritance"]

TAP, LISTENER = "tap", "vxlan"
TABLE: Final = "handover"
KEY: Final = "known"
FRESH_MS: Final = 60_000
"""What a former daemon knew is of no use after so long: it was started again by hand, or late."""
PRESUMED_S: Final = 5.0
"""As long as the others keep what this host said in its former life."""

_log = logging.getLogger(__name__)


class _Known(msgspec.Struct, frozen=True):
    """What is on the disk meanwhile."""

    at_ms: int
    presumed: Presumed


class Inheritance:
    """What a former daemon left. What nobody takes is closed in the end."""

    def __init__(self, vtep: Vtep) -> None:
        self._taps: dict[tuple[int, int, str], Tap] = {}
        self.listeners: list[int] = []
        for name, fd in systemd.kept():
            if name == TAP:
                self._add(fd)
            elif name == LISTENER and _is_bound(fd, vtep):
                self.listeners.append(fd)
            else:
                os.close(fd)
        if self._taps or self.listeners:
            _log.info("taking over", {"taps": len(self._taps), "sockets": len(self.listeners)})

    def tap(self, path: str, name: str) -> Tap | None:
        """The device of this name in a sandbox, if its descriptor was left."""
        try:
            return self._taps.pop((*identity_of(path), name), None)
        except StateError:
            return None

    def settle(self) -> None:
        """All is taken up: nothing of it is kept any longer."""
        self.close()
        for name in (TAP, LISTENER):
            systemd.forget(name)

    def close(self) -> None:
        """Close what nobody took. Idempotent."""
        while self._taps:
            self._taps.popitem()[1].close()

    def _add(self, fd: int) -> None:
        try:
            tap = Tap.inherit(fd)
        except HostError as error:
            _log.warning("a descriptor that was kept is of no use", {"reason": error})
            return
        try:
            self._taps[(*tap.namespace(), tap.name)] = tap
        except HostError as error:
            tap.close()
            _log.warning("a descriptor that was kept is of no use", {"reason": error})


class Handover:
    """Leaves everything to the next daemon, once `leave` was called."""

    def __init__(
        self,
        store: Store,
        datapath: Datapath,
        forwarding: Forwarding,
        overlay: OverlayDriver,
        now_ms: Callable[[], int],
    ) -> None:
        self.asked = False
        """Whether another daemon begins as soon as this one has ended."""
        self._store = store
        self._datapath = datapath
        self._forwarding = forwarding
        self._overlay = overlay
        self._now_ms = now_ms

    async def take_up(self) -> bool:
        """Presume what a former daemon knew, where that was a moment ago; says whether it was."""
        rows = dict(await self._store.rows(TABLE))
        if KEY not in rows:
            return False
        await self._store.delete(TABLE, KEY)
        try:
            known = msgspec.msgpack.decode(rows[KEY], type=_Known)
        except UNREADABLE:
            return False  # of another version; gossip tells it all again
        if not 0 <= self._now_ms() - known.at_ms <= FRESH_MS:
            return False
        self._forwarding.presume(known.presumed)
        return True

    async def leave(self) -> None:
        """Have descriptors and table kept. Raises HostError where the disk refuses."""
        self.asked = True
        known = _Known(self._now_ms(), self._forwarding.known())
        await self._store.put(TABLE, KEY, msgspec.msgpack.encode(known))
        await asyncio.to_thread(_keep, self._datapath.listeners(), self._overlay.descriptors())


def _keep(listeners: Sequence[int], taps: Sequence[Sequence[int]]) -> None:
    systemd.keep(LISTENER, listeners)
    for fds in taps:
        systemd.keep(TAP, fds)


def _is_bound(fd: int, vtep: Vtep) -> bool:
    """Whether a descriptor is a socket of this VTEP; the settings may have changed meanwhile."""
    try:
        with socket.socket(fileno=os.dup(fd)) as found:
            return tuple(found.getsockname()[:2]) == (format_ip(vtep.ip), vtep.port)
    except OSError:
        return False
