"""A cluster on a bed: a daemon a host, each its own process, told and asked as a user would."""

import ipaddress
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from vxnet.api.client import Client
from vxnet.api.model import (
    AttachBody,
    EndpointBody,
    EndpointView,
    FdbView,
    JoinBody,
    MemberView,
    NetworkBody,
    NetworkView,
    StatusView,
)
from vxnet.demo.bed import Bed, Host
from vxnet.demo.namespace import Namespace
from vxnet.demo.processes import end_all
from vxnet.demo.report import TableRow
from vxnet.demo.station import Station
from vxnet.errors import HostError, VxnetError

__all__ = ["Cluster", "Daemon", "address_of", "as_table_row", "station_of", "wait_for"]

READY_WITHIN_S = 90.0
POLL_S = 0.05
VXNET = (sys.executable, "-m", "vxnet")


class Daemon:
    """One host's daemon: its files, its process, and what it says when asked."""

    def __init__(self, host: Host, vtep: str) -> None:
        self.host = host
        self.vtep = vtep
        self.config = host.directory / "vxnet.toml"
        self.socket = host.directory / "vxnet.sock"
        self.key_file = host.directory / "gossip.key"
        self.log = host.directory / "daemon.log"
        self.client = Client(str(self.socket))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process as it was last started."""
        assert self._process is not None, "start comes first"
        return self._process

    def start(self) -> None:
        """Start the process; `wait_until_ready` tells when it answers."""
        with self.log.open("ab") as log:
            self._process = self.host.popen(
                [*VXNET, "daemon", "-c", self.config], stdout=log, stderr=log
            )

    def use(self, process: subprocess.Popen[bytes]) -> None:
        """Somebody else started it."""
        self._process = self.host.adopt(process)

    def wait_until_ready(self) -> None:
        """Return once it answers. Raises HostError with its last words where it ends instead."""
        wait_for(self._answers, READY_WITHIN_S, f"the daemon of {self.host.label} answers")

    def stop(self) -> int:
        """Ask it to leave; its exit status."""
        end_all([self.process])
        return self.process.returncode

    def kill(self) -> None:
        """End it without a goodbye."""
        self.process.kill()
        self.process.wait()

    def last_words(self, lines: int = 5) -> str:
        """The end of its log."""
        try:
            text = self.log.read_text(errors="replace")
        except FileNotFoundError:
            text = ""
        return "\n".join(text.splitlines()[-lines:]) or "(it said nothing)"

    def status(self) -> StatusView:
        """The host at a glance."""
        return self.client.status()

    def members(self) -> Sequence[MemberView]:
        """Who is there, as this host sees it."""
        return self.client.peers()

    def networks(self) -> Sequence[NetworkView]:
        """The networks this host knows."""
        return self.client.networks()

    def create_network(
        self, name: str, subnets: Sequence[str], gateways: Sequence[str] = ()
    ) -> NetworkView:
        """Make a network, of subnets that others may have too."""
        body = NetworkBody(
            name, subnets=tuple(subnets), gateways=tuple(gateways), allow_overlap=True
        )
        return self.client.create_network(body)

    def attach(
        self,
        network: str,
        *,
        name: str = "",
        like: Station | None = None,
        aliases: tuple[str, ...] = (),
        services: tuple[str, ...] = (),
    ) -> Station:
        """Make a sandbox called like the network (or `name`) and attach it.

        With `like`, the new endpoint has that station's MAC and addresses.
        """
        sandbox = self.host.sandbox(name or network)
        body = AttachBody(
            EndpointBody(
                network,
                name=sandbox.name,
                ips=like.addresses if like else (),
                mac=like.mac if like else "",
                aliases=aliases,
                services=services,
            ),
            JoinBody("netns", sandbox.name),
        )
        endpoint = self.client.attach(body)
        return station_of(self.host, sandbox, endpoint, endpoint.addresses)

    def detach(self, station: Station) -> None:
        """Take an endpoint away."""
        self.client.remove_endpoint(station.endpoint)

    def fdb(self) -> Sequence[FdbView]:
        """Its forwarding table."""
        return self.client.fdb()

    def rows_behind(self, vtep: str) -> int:
        """How many stations it believes behind this VTEP."""
        return sum(address_of(row.vtep) == vtep for row in self.fdb())

    def _answers(self) -> bool:
        if (status := self.process.poll()) is not None:
            raise HostError(
                f"the daemon of {self.host.label} ended with {status}, saying: {self.last_words()}"
            )
        try:
            self.client.status()
        except VxnetError:
            return False
        return True


class Cluster:
    """Daemons on the hosts of a bed, which ends them when it is left.

    `version` is that of the underlay's addresses, 4 or 6; `settings` is TOML that every daemon gets
    besides. Gossip is encrypted with a key made for the run.
    """

    def __init__(
        self,
        bed: Bed,
        *,
        datapath: str = "auto",
        port: int = 4789,
        version: int = 4,
        settings: str = "",
    ) -> None:
        self.bed = bed
        self.port = port
        self._more_settings = settings
        self.daemons = [
            Daemon(host, host.vtep4 if version == 4 else host.vtep6) for host in bed.hosts
        ]
        self._datapath = datapath

    def start(self) -> None:
        """Write the settings, start every daemon, and return once all of them answer."""
        key = secrets.token_hex(32)
        for daemon in self.daemons:
            daemon.key_file.touch(mode=0o600)
            daemon.key_file.write_text(f"{key}\n")
            daemon.config.write_text(self._settings(daemon))
            daemon.start()
        for daemon in self.daemons:
            daemon.wait_until_ready()

    def daemon_of(self, host: Host) -> Daemon:
        """The daemon that runs on a host."""
        return next(daemon for daemon in self.daemons if daemon.host is host)

    def wait_for_members(self, within_s: float = 20.0) -> float:
        """Until everybody sees everybody alive: how many seconds that took."""
        wanted = {daemon.host.label for daemon in self.daemons}
        return wait_for(
            lambda: all(
                {m.name for m in daemon.members() if m.state == "alive"} == wanted
                for daemon in self.daemons
            ),
            within_s,
            "every daemon sees every other alive",
        )

    def wait_for_network(self, name: str, within_s: float = 20.0) -> float:
        """Until every host knows a network: how many seconds that took."""
        return wait_for(
            lambda: all(
                name in (network.name for network in daemon.networks()) for daemon in self.daemons
            ),
            within_s,
            f"every host knows the network {name}",
        )

    def vni_of(self, network: str) -> int | None:
        """The VNI the first host has for a network."""
        return next((n.vni for n in self.daemons[0].networks() if n.name == network), None)

    def _settings(self, daemon: Daemon) -> str:
        seeds = ", ".join(f'"{other.vtep}"' for other in self.daemons[:3])
        return f"""\
[node]
name = "{daemon.host.label}"
vtep = "{daemon.vtep}"
state_dir = "{daemon.host.directory}"
socket = "{daemon.socket}"
datapath = "{self._datapath}"

[vxlan]
port = {self.port}

[gossip]
cluster = "{self.bed.prefix}"
seeds = [{seeds}]
key_file = "{daemon.key_file}"

{self._more_settings}"""


def wait_for(condition: Callable[[], bool], within_s: float, what: str) -> float:
    """Until a condition holds: how many seconds that took. Raises HostError where it never does."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > within_s:
            raise HostError(f"{what}: not so within {within_s:g} s")
        time.sleep(POLL_S)
    return time.monotonic() - started


def station_of(
    host: Host, sandbox: Namespace, endpoint: EndpointView, addresses: Sequence[str]
) -> Station:
    """An endpoint as a station. Raises HostError unless it has an address of each version."""
    interfaces = [ipaddress.ip_interface(text) for text in addresses]
    ipv4 = [i for i in interfaces if isinstance(i, ipaddress.IPv4Interface)]
    ipv6 = [i for i in interfaces if isinstance(i, ipaddress.IPv6Interface)]
    if len(ipv4) != 1 or len(ipv6) != 1:
        raise HostError(
            f"the endpoint {endpoint.name} has the addresses {', '.join(addresses)}; "
            "one of each version was asked for"
        )
    return Station(
        label=f"{host.label}/{sandbox.name.rpartition('-')[2]}",
        network=endpoint.network,
        host=host,
        sandbox=sandbox,
        ifname=endpoint.ifname,
        endpoint=endpoint.id,
        mac=endpoint.mac,
        ipv4=ipv4[0],
        ipv6=ipv6[0],
    )


def address_of(vtep: str | None) -> str | None:
    """The address in `192.0.2.1:4789` or `[2001:db8::1]:4789`; None for a station that is local."""
    return None if vtep is None else vtep.rpartition(":")[0].strip("[]")


def as_table_row(row: FdbView) -> TableRow:
    """A line of a forwarding table, as the report has it."""
    behind = row.vtep or f"here: {row.endpoint}"
    return TableRow(row.network, row.mac, row.ips, behind, row.source)
