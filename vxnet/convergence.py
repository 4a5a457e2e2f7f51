"""Follows what other hosts say of networks, and answers for those that nobody answers for."""

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from vxnet.addresses import Addresses
from vxnet.cnm.catalogue import network_of
from vxnet.control.base import ControlPlane
from vxnet.errors import VxnetError, WireError
from vxnet.gossip.events import Event, Record, RecordGone, RecordKind, RecordSet
from vxnet.network_table import NetworkTable
from vxnet.tending import keep_tending

__all__ = ["Convergence"]

ADOPT_AFTER_MS: Final = (2_000, 10_000)
TEND_EVERY_S: Final = 1.0


class Convergence:
    """Brings this host's part of the catalogue in line with the others'."""

    def __init__(
        self,
        table: NetworkTable,
        control: ControlPlane,
        addresses: Addresses,
        *,
        now_ms: Callable[[], int],
        random: Random,
    ) -> None:
        """Subscribes to the control plane; make it before that is started."""
        self._table = table
        self._control = control
        self._addresses = addresses
        self._now_ms = now_ms
        self._random = random
        self._news: set[str] = set()
        self._awake = asyncio.Event()
        self._adopt_at_ms: dict[str, int] = {}
        self.bad_records = 0
        control.subscribe(self._on_control)

    async def run(self, report: Callable[[VxnetError], None]) -> None:
        """Follow until cancelled; failures are reported."""
        await keep_tending(self._awake, TEND_EVERY_S, self.tend, report)

    async def tend(self) -> None:
        """Do what is due now."""
        catalogue = self._table.catalogue
        async with self._table.turns:
            while self._news:
                await self._follow(self._news.pop())
            for name in catalogue.vni_losers():
                if catalogue.owns(name):
                    catalogue.revise(name, catalogue.free_vni(name), now_ms=self._now_ms())
                    await self._follow(name)
                    self._table.publish(name)
            orphans = set(catalogue.orphans())
            await self._adopt(orphans)
            for name in set(catalogue.superseded()) - orphans:
                catalogue.stand_down(name)
                await self._table.save(name)
                self._table.retract(name)
            for name in catalogue.expired(self._now_ms()):
                await self._table.forget(name)

    async def _follow(self, name: str) -> None:
        """Make a changed winner real here, or refuse a removal that would cut off endpoints."""
        table, driven = self._table, self._table.driven.get(name)
        before = None if driven is None else network_of(driven)
        now = table.catalogue.get(name)
        if now is None and driven is not None and table.used_by(network_of(driven)):
            now = table.catalogue.revive(driven, now_ms=self._now_ms())
            table.publish(name)
        await table.save(name)
        table.note(name)
        if now is not None:
            self._addresses.open(now)
        if before is not None and now is None:
            if (driver := table.drivers.find(before.driver)) is not None:
                await driver.delete_network(before)
            await self._addresses.forget(before.id)
        elif now is not None and before is None:
            if (driver := table.drivers.find(now.driver)) is not None:
                await driver.create_network(now)
        elif now is not None and before is not None and now != before:
            for watcher in table.watchers:
                await watcher(before, now)

    async def _adopt(self, orphans: set[str]) -> None:
        """Answer for what nobody answers for: at once where it is in use, else after a while.

        The wait differs from host to host, so that mostly one host does it.
        """
        table, now_ms = self._table, self._now_ms()
        self._adopt_at_ms = {n: at for n, at in self._adopt_at_ms.items() if n in orphans}
        for name in orphans:
            network = table.catalogue.get(name)
            wait_ms = self._random.randint(*ADOPT_AFTER_MS)
            due_ms = self._adopt_at_ms.setdefault(name, now_ms + wait_ms)
            if now_ms >= due_ms or (network is not None and table.used_by(network)):
                table.catalogue.adopt(name)
                await table.save(name)
                table.publish(name)

    def _on_control(self, events: Sequence[Event]) -> None:
        own = None
        for event in events:
            match event:
                case RecordSet(record) if record.kind is RecordKind.NETWORK:
                    own = own or self._control.members()[0].id
                    if record.owner != own:
                        self._hear(record)
                case RecordGone(RecordKind.NETWORK, key, owner):
                    self._table.catalogue.unhear(key.decode(errors="replace"), owner)
                case _:
                    continue

    def _hear(self, record: Record) -> None:
        try:
            name = self._table.catalogue.hear(record.body, record.owner)
        except WireError:
            self.bad_records += 1
            return
        if name is not None:
            self._news.add(name)
            self._awake.set()
