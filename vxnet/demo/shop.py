"""The demo's service: members on every host, customers on all but the last, and what they saw."""

import itertools
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from vxnet.api.model import ServiceBody
from vxnet.demo.cluster import Cluster, Daemon, wait_for
from vxnet.demo.namespace import Namespace
from vxnet.demo.processes import end_all
from vxnet.demo.report import MemberRow
from vxnet.errors import HostError

__all__ = ["NAME", "PORT", "PUBLISHED", "TOLD", "Asker", "Member", "Request", "Shop"]

NETWORK: Final = "blue"
NAME: Final = "shop"
PORT: Final = 80
PUBLISHED: Final = 8080
TOLD: Final = 8081
"""The published port where members are told of their clients by the PROXY protocol."""
TARGET: Final = 8080
MEMBERS: Final = 6
THREADS: Final = 4
HEALTHY_WITHIN_S: Final = 60.0
ENDED_WITHIN_S: Final = 45.0


@dataclass(frozen=True, slots=True)
class Asker:
    """Somebody who asks for the service: where it lives, and under which name it asks."""

    label: str
    place: Namespace
    addresses: tuple[str, ...]
    name: str = NAME
    port: int = PORT


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as its customer tells it. Times are of the machine's monotonic clock."""

    customer: "Asker"
    begun: float
    ended: float
    port: int | None = None
    member: str = ""
    client: str = ""
    error: str = ""

    def is_of(self, connections: "Connections") -> bool:
        """Whether one of these was its own. Ports are used again and again: the time tells."""
        return any(
            self.begun <= made_at <= self.ended
            for address in self.customer.addresses
            for made_at in connections.get(f"{address} {self.port}", ())
        )


Connections = dict[str, list[float]]
"""When each client, an address and a port, connected to a member."""

_Asking = tuple[subprocess.Popen[bytes], Asker, Path]


class Member:
    """A web server in a sandbox of its own."""

    def __init__(self, daemon: Daemon, name: str) -> None:
        self.daemon = daemon
        self.name = name
        self.fate = ""
        self.answered: Counter[str] = Counter()
        self._log = daemon.host.directory / f"{name}.log"
        self.station = daemon.attach(
            NETWORK, name=name, aliases=(name,), services=(NAME, f"{NAME}-told")
        )
        with self._log.open("wb") as log:
            command = [sys.executable, "-m", "vxnet.demo.member", name, str(TARGET)]
            self.process = self.station.sandbox.popen(command, stdout=log)

    @property
    def is_alive(self) -> bool:
        """Whether nobody killed it."""
        return not self.fate

    def kill(self) -> None:
        """End its server without a goodbye."""
        self.process.kill()
        self.process.wait()
        self.fate = "killed"

    def connections(self) -> Connections:
        """Everybody who ever connected."""
        found: Connections = {}
        for line in self._log.read_text().splitlines():
            made_at, _, client = line.partition(" ")
            found.setdefault(client, []).append(float(made_at))
        return found


class Shop:
    """The service, and its customers."""

    def __init__(self, cluster: Cluster) -> None:
        """Make it on the first host. Raises HostError where members do not get healthy."""
        self.cluster = cluster
        self.daemons = list(cluster.daemons)
        body = ServiceBody(
            NAME,
            NETWORK,
            ports=(f"{PORT}:{TARGET}",),
            health="http:/health",
            publish=(f"{PUBLISHED}:{PORT}",),
        )
        self.vips = self.daemons[0].client.create_service(body).vips
        told = msgspec.structs.replace(
            body, name=f"{NAME}-told", vip="none", publish=(f"{TOLD}:{PORT}",), proxy_protocol="v2"
        )
        self.daemons[0].client.create_service(told)
        turns = itertools.cycle(self.daemons)
        self.members = [Member(next(turns), f"m{n}") for n in range(1, MEMBERS + 1)]
        stations = [daemon.attach(NETWORK, name="customer") for daemon in self.daemons[:-1]]
        self.customers = [Asker(s.label, s.sandbox, s.addresses) for s in stations]
        self._files = itertools.count(1)

    def outsiders(self, hosts: Sequence[Daemon], port: int = PUBLISHED) -> list[Asker]:
        """Each of these hosts, asking at a published port of the next of them."""
        return [
            Asker(one.host.label, one.host, (one.vtep,), other.vtep, port)
            for one, other in zip(hosts, [*hosts[1:], hosts[0]], strict=True)
        ]

    def wait_until_open(self) -> float:
        """Until published ports are open on every host, for clients: how long that took."""
        return wait_for(
            lambda: all(
                [port.state for service in services for port in service.published] == ["open"] * 2
                and all(member.sees == "clients" for s in services for member in s.members)
                for services in (daemon.client.services() for daemon in self.daemons)
            ),
            HEALTHY_WITHIN_S,
            "the published ports are open on every host, and members see clients",
        )

    def rows(self) -> list[MemberRow]:
        """Its members, for the report."""
        return [
            MemberRow(m.name, m.daemon.host.label, m.station.addresses, dict(m.answered), m.fate)
            for m in self.members
        ]

    def wait_until_healthy(self) -> float:
        """Until every host believes those alive healthy, and no other: how long that took."""
        wanted = {m.station.sandbox.name for m in self.members if m.is_alive}
        return wait_for(
            lambda: all(_healthy(daemon) == wanted for daemon in self.daemons),
            HEALTHY_WITHIN_S,
            f"{len(wanted)} members are healthy on every host",
        )

    def resolve(self, customer: Asker, name: str) -> set[str]:
        """What a program in a sandbox gets for a name."""
        script = (
            "import socket, sys\n"
            "found = socket.getaddrinfo(sys.argv[1], 80, type=socket.SOCK_STREAM)\n"
            "print(*(one[4][0] for one in found))"
        )
        command = _within(customer, [sys.executable, "-c", script, name])
        return set(customer.place.run(command).stdout.split())

    def ask(self, askers: Sequence[Asker], count: int, phase: str) -> list[Request]:
        """Requests of each, `count` a thread."""
        with self._asking(askers, [str(count)]) as asking:
            for process, _, _ in asking:
                try:
                    process.wait(timeout=120.0)
                except subprocess.TimeoutExpired:
                    raise HostError("the customers' requests took longer than 120 s") from None
            return self._read(asking, phase)

    @contextmanager
    def load(self, phase: str) -> Iterator[list[Request]]:
        """Customers and outsiders ask all the time; at the end the list holds their requests."""
        requests: list[Request] = []
        hosts = [d for d in self.daemons if d is not self.cluster.daemons[-1]]
        with self._asking([*self.customers, *self.outsiders(hosts)], []) as asking:
            yield requests
            end_all([process for process, _, _ in asking], patience_s=ENDED_WITHIN_S)
            requests += self._read(asking, phase)

    @contextmanager
    def _asking(self, askers: Sequence[Asker], more: Sequence[str]) -> Iterator[list[_Asking]]:
        asking: list[_Asking] = []
        try:
            for asker in askers:
                program = [sys.executable, "-m", "vxnet.demo.customer", asker.name, str(asker.port)]
                path = self.cluster.bed.directory / f"requests{next(self._files)}"
                with path.open("wb") as output:
                    process = asker.place.popen(
                        _within(asker, [*program, str(THREADS), *more]), stdout=output
                    )
                asking.append((process, asker, path))
            yield asking
        finally:
            end_all([process for process, _, _ in asking])

    def _read(self, asking: Sequence[_Asking], phase: str) -> list[Request]:
        requests = []
        for process, asker, path in asking:
            lines = path.read_text().splitlines()
            if process.returncode or not lines:
                said = "\n".join(lines[-5:]) or "nothing"
                raise HostError(f"{asker.label} ended with {process.returncode}, saying: {said}")
            stories: list[dict[str, Any]] = [json.loads(line) for line in lines]
            requests += [Request(asker, **story) for story in stories]
        names = {member.name: member for member in self.members}
        for request in requests:
            if request.member in names:
                names[request.member].answered[phase] += 1
        return requests


def _within(asker: Asker, command: Sequence[str]) -> list[str]:
    """Entered as `ip netns exec` does, which gives a sandbox its own resolv.conf."""
    return ["ip", "netns", "exec", asker.place.name, *command]


def _healthy(daemon: Daemon) -> set[str]:
    view = daemon.client.service(NAME)
    return {member.endpoint for member in view.members if member.serving == "healthy"}
