"""The examination: every check there is, as far as the daemon runs and the settings can be read."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from vxnet.api.client import Client
from vxnet.api.model import EndpointView, SandboxView, StatusView
from vxnet.api.seen import FactsView
from vxnet.config import Settings, load
from vxnet.doctor import cluster, host
from vxnet.doctor.finding import HERE, Finding
from vxnet.doctor.firewall import firewall
from vxnet.doctor.forwarding import forwarding
from vxnet.errors import ConfigError, HostError, StateError, VxnetError
from vxnet.host.firewall import read_legacy, read_ruleset
from vxnet.host.netlink import NetlinkHost

__all__ = ["Report", "examine"]

T = TypeVar("T")


class Report(Struct, frozen=True):
    """What was found, and how much was looked at."""

    ok: bool
    findings: tuple[Finding, ...]
    daemon: bool
    """Whether the daemon could be asked; without it the ways to other hosts are not tried."""
    peers: int
    """How many hosts were asked."""


async def examine(client: Client, config: Path) -> Report:
    """Look at everything. Nothing is changed."""
    examination = _Examination(client, config)
    await examination.run()
    found = tuple(dict.fromkeys(examination.findings))
    ok = all(finding.advice for finding in found)
    return Report(ok, found, examination.facts is not None, examination.peers)


class _Examination:
    def __init__(self, client: Client, config: Path) -> None:
        self._client = client
        self._config = config
        self.findings: list[Finding] = []
        self.facts: FactsView | None = None
        self.peers = 0

    async def run(self) -> None:
        """The daemon first: it knows its settings."""
        self.findings += host.privileges()
        status = await self._ask_daemon()
        settings = self._settings()
        await self._try("kernel", host.kernel)
        self.findings += host.network_manager()
        if settings is not None:
            await self._look_at_host(settings, status)
        if status is not None and self.facts is not None and settings is not None:
            try:
                await self._look_at_cluster(status, self.facts, settings)
            except (HostError, StateError) as error:  # it answered a moment ago
                self._note_no_answer(error)

    async def _ask_daemon(self) -> StatusView | None:
        try:
            status = await asyncio.to_thread(self._client.status)
            self.facts = await asyncio.to_thread(self._client.facts)
        except (HostError, StateError) as error:
            self._note_no_answer(error)
            return None
        return status

    def _note_no_answer(self, error: HostError | StateError) -> None:
        what, _, mend = str(error).partition("; ")
        self.findings.append(Finding("daemon_down", HERE, what, mend or "systemctl restart vxnet"))

    def _settings(self) -> Settings | None:
        if self.facts is not None:
            return msgspec.convert(self.facts.settings, Settings)
        try:
            return load(self._config)
        except ConfigError as error:
            for problem in str(error).splitlines():
                what, _, mend = problem.partition("; ")
                mend = mend or f"mend it, then: vxnet daemon -c {self._config} --check"
                self.findings.append(Finding("settings", HERE, what, mend))
            return None

    async def _look_at_host(self, settings: Settings, status: StatusView | None) -> None:
        known_mtu = None if status is None else status.underlay_mtu
        await self._try("underlay", lambda: host.underlay(settings, known_mtu))
        if status is None:
            self.findings += host.ports_taken(settings)
        self.findings += host.key_file(settings)
        self.findings += host.plugin_socket(settings)
        self.findings += host.database(settings)
        self.findings += host.disk_space(settings)
        ruleset = await self._try("firewall", read_ruleset)
        [legacy] = await self._try("forwarding", _legacy) or [""]
        devices = [name for _, name in socket.if_nameindex()]
        self.findings += forwarding(ruleset, legacy, devices)
        ports = {
            ("udp", settings.vxlan.port): "VXLAN",
            ("udp", settings.gossip.port): "gossip",
            ("tcp", settings.gossip.port): "gossip",
        }
        self.findings += firewall(ruleset, ports)

    async def _look_at_cluster(
        self, status: StatusView, facts: FactsView, settings: Settings
    ) -> None:
        client = self._client
        peers = await asyncio.to_thread(client.peers)
        self.findings += cluster.alarms(facts)
        self.findings += cluster.members(status, peers, facts, settings)
        self.findings += cluster.unreadable(facts)
        self.findings += cluster.table(facts)
        networks = await asyncio.to_thread(client.networks)
        prefixes = await self._try("subnet_overlap", NetlinkHost().prefixes)
        self.findings += cluster.overlaps(networks, prefixes)
        endpoints = await asyncio.to_thread(client.endpoints)
        self.findings += cluster.duplicates(endpoints, await asyncio.to_thread(client.fdb))
        sandboxes = await asyncio.to_thread(client.sandboxes)
        await self._look_at_devices(endpoints, sandboxes)
        found = await asyncio.to_thread(client.probe)
        self.peers = len(found)
        self.findings += cluster.ways(found, settings)

    async def _look_at_devices(
        self, endpoints: list[EndpointView], sandboxes: list[SandboxView]
    ) -> None:
        paths = {name: sandbox.path for sandbox in sandboxes for name in sandbox.endpoints}
        for endpoint in endpoints:
            if endpoint.state == "absent":
                self.findings.append(
                    Finding(
                        "sandbox",
                        HERE,
                        f"the sandbox of endpoint {endpoint.name} is gone",
                        f"vxnet detach {endpoint.name}",
                    )
                )
            elif endpoint.sandbox is not None and endpoint.name in paths:
                await self._try(
                    "device_missing",
                    partial(host.device, endpoint.name, paths[endpoint.name], endpoint.ifname),
                )

    async def _try(self, name: str, check: Callable[[], Awaitable[list[T]]]) -> list[T]:
        """A check that the system may refuse; where it does, that is a finding of its own."""
        try:
            found = await check()
        except VxnetError as error:
            self.findings.append(
                Finding(name, HERE, f"this cannot be looked at ({error})", "run it as root")
            )
            return []
        self.findings += [one for one in found if isinstance(one, Finding)]
        return found


async def _legacy() -> list[str]:
    return [await read_legacy()]
