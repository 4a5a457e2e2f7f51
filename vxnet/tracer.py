"""Follows a frame: what each switch decides about it, and a marked one that is really sent.

Nothing is imitated. The switch of this host is asked about the very frame; the probe enters the
datapath where the endpoint's own frames do; other hosts tell what became of it where they saw it.
"""

import asyncio
import ipaddress
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import SystemRandom
from typing import Final

from vxnet.captures import Captures
from vxnet.cnm.model import Endpoint, EndpointId, Network
from vxnet.control.base import ControlPlane
from vxnet.datapath.base import Datapath, FdbRow
from vxnet.datapath.sight import SNAP_MAX, Sight, Verb
from vxnet.endpoints import Endpoints
from vxnet.errors import StateError, WireError
from vxnet.gossip.events import Member, MemberState, NodeId
from vxnet.networks import Networks
from vxnet.probe.prober import Prober
from vxnet.switch.actions import Action, Deliver, Drop, Flood, PortId, Reply, Rewrite, Send
from vxnet.wire import arp, echo, nd
from vxnet.wire.addr import Ip, Mac, Vni, Vtep, format_ip, format_mac, parse_ip, parse_mac
from vxnet.wire.ethernet import HEADER
from vxnet.wire.probe import ETHERTYPE, MARK_BYTES, Message, Seen, Watch, encode
from vxnet.wire.rewrite import Edit

__all__ = ["Step", "Trace", "Tracer"]

WATCHED_S: Final = 3.0
"""How long another host looks out for a marked frame."""

READY_S: Final = 1.0
SEEN_S: Final = 1.5
WATCHES_MAX: Final = 8
TOLD_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that is so, or was decided, on a host."""

    host: str
    text: str
    ok: bool = True


@dataclass(frozen=True, slots=True)
class Trace:
    """All steps; `delivered` says whether the probe reached an endpoint."""

    steps: tuple[Step, ...]
    delivered: bool


@dataclass(frozen=True, slots=True)
class _Target:
    """Whom a frame is for."""

    mac: Mac
    ip: Ip | None
    row: FdbRow | None


class Tracer:
    """Traces frames of this host's endpoints, and looks out for those of others."""

    def __init__(
        self,
        datapath: Datapath,
        control: ControlPlane,
        prober: Prober,
        captures: Captures,
        networks: Networks,
        endpoints: Endpoints,
        *,
        port_of: Callable[[EndpointId], PortId | None],
    ) -> None:
        self._datapath = datapath
        self._control = control
        self._captures = captures
        self._networks = networks
        self._endpoints = endpoints
        self._port_of = port_of
        self._random = SystemRandom()
        self._watches: set[asyncio.Task[None]] = set()
        self._asked: dict[int, asyncio.Queue[tuple[NodeId, Seen]]] = {}
        prober.listeners.append(self._hear)

    async def trace(self, network: str, source: str, target: str) -> Trace:
        """From an endpoint of this host to a station. Raises StateError or WireError."""
        found = self._networks.get(network)
        if found.vni is None:
            raise StateError(f"network {network} is of driver {found.driver}, which has no switch")
        endpoint = self._source(found, source)
        port = self._port_of(endpoint.id)
        if port is None:
            raise StateError(f"endpoint {endpoint.name} has no device; join it to a sandbox first")
        return await _Tracing(self, found, found.vni, endpoint, port).run(target)

    # ── for others ──────────────────────────────────────────────────────────────────────────

    def _hear(self, sender: NodeId, message: Message) -> None:
        match message:
            case Watch() if len(self._watches) < WATCHES_MAX:
                task = asyncio.create_task(self._watch(sender, message))
                self._watches.add(task)
                task.add_done_callback(self._watches.discard)
            case Seen(token) if token in self._asked:
                self._asked[token].put_nowait((sender, message))
            case _:
                return

    async def _watch(self, sender: NodeId, watch: Watch) -> None:
        """Look out for a marked frame for a while, and tell what becomes of it."""

        def is_marked(sight: Sight) -> bool:
            return sight.vni == watch.vni and watch.mark in sight.octets

        with suppress(StateError, TimeoutError):
            capture = self._captures.open(SNAP_MAX, is_marked)
            try:
                self._tell(sender, Seen(watch.token, "", "", "", "", time.time_ns()))
                async with asyncio.timeout(WATCHED_S):
                    told = 0
                    while told < TOLD_MAX:
                        sights, _ = await capture.fetch()
                        if not sights:
                            return
                        for sight in sights:
                            self._tell(sender, self._seen(watch.token, sight))
                            told += 1
            finally:
                self._captures.close(capture)

    def _tell(self, to: NodeId, message: Watch | Seen) -> None:
        with suppress(StateError):  # it left meanwhile
            self._control.write(to, encode(message))

    def _seen(self, token: int, sight: Sight) -> Seen:
        end = sight.end
        target = ""
        if end.port is not None:
            target = self.name_of_port(end.port)
        elif end.vtep is not None:
            target = self.name_of_vtep(end.vtep)
        elif end.verb is Verb.FLOODED:
            target = f"{end.ports} endpoints and {end.vteps} hosts"
        if isinstance(sight.entrance, int):
            source = f"endpoint {self.name_of_port(sight.entrance)}"
        else:
            source = f"peer {self.name_of_ip(sight.entrance)}"
        reason = "" if end.reason is None else str(end.reason)
        return Seen(token, str(end.verb), reason, target[:128], source[:128], sight.at_ns)

    # ── names ───────────────────────────────────────────────────────────────────────────────

    def name_of_port(self, port: PortId) -> str:
        """The endpoint behind a port."""
        for endpoint in self._endpoints:
            if self._port_of(endpoint.id) == port:
                return endpoint.name
        return f"port {port}"

    def name_of_vtep(self, vtep: Vtep) -> str:
        """The host at the other end of a tunnel."""
        member = self.member_at(vtep)
        return str(vtep) if member is None else f"{member.name} ({vtep})"

    def name_of_ip(self, ip: Ip) -> str:
        """The host that outer packets come from."""
        names = [member.name for member in self._control.members() if member.vtep.ip == ip]
        return names[0] if names else format_ip(ip)

    def name_of(self, node: NodeId) -> str:
        """A member by its id."""
        return next((m.name for m in self._control.members() if m.id == node), f"{node:016x}")

    def member_at(self, vtep: Vtep) -> Member | None:
        """The member whose tunnels end here."""
        live = MemberState.ALIVE, MemberState.SUSPECT
        for member in self._control.members():
            if member.vtep == vtep and not member.local and member.state in live:
                return member
        return None

    def _source(self, network: Network, text: str) -> Endpoint:
        here = [endpoint for endpoint in self._endpoints if endpoint.network == network.id]
        for endpoint in here:
            addresses = {str(address.ip) for address in endpoint.addresses}
            if text in {endpoint.name, format_mac(endpoint.mac), *addresses}:
                return endpoint
        for row in self._datapath.fdb():
            is_it = text in {format_mac(row.mac), *map(format_ip, row.ips)}
            if row.vni == network.vni and row.vtep is not None and is_it:
                raise StateError(
                    f"{text} is behind {self.name_of_vtep(row.vtep)}; run vxnet trace there"
                )
        names = ", ".join(endpoint.name for endpoint in here) or "none"
        raise StateError(
            f"{text} is no endpoint of network {network.name} on this host (there are: {names})"
        )

    # ── for _Tracing ────────────────────────────────────────────────────────────────────────

    @property
    def host(self) -> str:
        """This host's name."""
        return self._control.members()[0].name

    def rows(self, vni: Vni) -> list[FdbRow]:
        """The forwarding table of a network."""
        return [row for row in self._datapath.fdb() if row.vni == vni]

    def decide(self, port: PortId, frame: bytes) -> Action:
        """What the switch decides about a frame of a port."""
        return self._datapath.decide(port, frame)

    async def send(
        self, vni: Vni, port: PortId, frame: bytes, mark: bytes, members: Sequence[Member]
    ) -> tuple[list[tuple[str, Seen]], set[str]]:
        """Send a marked frame; what each host says it saw, in order, and who looked out for it."""
        token = self._random.getrandbits(64)
        said: asyncio.Queue[tuple[NodeId, Seen]] = asyncio.Queue()
        self._asked[token] = said
        own = self._captures.open(SNAP_MAX, lambda s: s.vni == vni and mark in s.octets)
        try:
            for member in members:
                self._tell(member.id, Watch(token, vni, mark))
            ready = await self._ready(said, len(members))
            self._datapath.inject(port, frame)
            deadline = asyncio.get_running_loop().time() + SEEN_S
            seen: list[tuple[str, Seen]] = []
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    while True:
                        sights, _ = await own.fetch()
                        seen += [(self.host, self._seen(token, sight)) for sight in sights]
                        if self._is_answered(seen):
                            await asyncio.sleep(0.1)  # letters of others are on their way
                            break
            while not said.empty():
                sender, message = said.get_nowait()
                if message.verb:
                    seen.append((self.name_of(sender), message))
        finally:
            self._captures.close(own)
            del self._asked[token]
        return seen, {self.name_of(node) for node in ready}

    async def _ready(self, said: "asyncio.Queue[tuple[NodeId, Seen]]", count: int) -> set[NodeId]:
        ready: set[NodeId] = set()
        with suppress(TimeoutError):
            async with asyncio.timeout(READY_S):
                while len(ready) < count:
                    sender, _ = await said.get()
                    ready.add(sender)
        return ready

    def _is_answered(self, seen: Sequence[tuple[str, Seen]]) -> bool:
        """Whether all that can come has: a drop here, or an answer that came back."""
        last = seen[-1][1]
        came_back = last.verb == Verb.DELIVERED and last.source != seen[0][1].source
        return last.verb == Verb.DROPPED or came_back


class _Tracing:
    """One trace in the making."""

    def __init__(
        self, tracer: Tracer, network: Network, vni: Vni, endpoint: Endpoint, port: PortId
    ) -> None:
        self._tracer = tracer
        self._network = network
        self._vni = vni
        self._endpoint = endpoint
        self._port = port
        self._steps: list[Step] = []

    async def run(self, text: str) -> Trace:
        """Every step in turn, as far as it goes."""
        network, endpoint = self._network, self._endpoint
        subnets = ", ".join(str(subnet.prefix) for subnet in network.subnets)
        self._here(f"network {network.name}: VNI {self._vni}, MTU {network.mtu}, {subnets}")
        self._here(
            f"from endpoint {endpoint.name}: MAC {format_mac(endpoint.mac)},"
            f" {', '.join(str(a.ip) for a in endpoint.addresses)}, port {self._port},"
            f" {endpoint.state}{f' to {endpoint.sandbox}' if endpoint.sandbox else ''}"
        )
        target = self._target(text)
        if target is None:
            return self._end(delivered=False)
        mark = bytes(SystemRandom().getrandbits(8) for _ in range(MARK_BYTES))
        frame, what = self._frame(target, mark)
        action = self._tracer.decide(self._port, frame)
        self._here(f"{what}, {len(frame)} octets: the switch {self._words(action)}")
        members = self._members(action)
        seen, ready = await self._tracer.send(self._vni, self._port, frame, mark, members)
        return self._report(action, members, seen, ready)

    def _here(self, text: str, *, ok: bool = True) -> None:
        self._steps.append(Step(self._tracer.host, text, ok))

    def _end(self, *, delivered: bool) -> Trace:
        return Trace(tuple(self._steps), delivered)

    def _target(self, text: str) -> _Target | None:
        """Whom it is for, and how that is known; None where the trace ends there."""
        rows = self._tracer.rows(self._vni)
        try:
            mac = parse_mac(text)
        except WireError:
            return self._target_of(parse_ip(text), rows)
        row = next((row for row in rows if row.mac == mac), None)
        ip = self._common(row.ips) if row is not None else None
        self._here(f"to MAC {format_mac(mac)}: {self._where(row)}", ok=row is not None)
        return _Target(mac, ip, row)

    def _target_of(self, ip: Ip, rows: Sequence[FdbRow]) -> _Target | None:
        address = ipaddress.ip_address(ip)
        if not any(address in s.prefix for s in self._network.subnets):
            self._here(
                f"{address} lies in no subnet of the network: the sandbox sends it to its gateway,"
                " or nowhere; trace the gateway's address",
                ok=False,
            )
            return None
        source = self._common((ip,))
        if source is None:
            self._here(f"the endpoint has no address of {address}'s version", ok=False)
            return None
        question = (
            arp.request(self._endpoint.mac, source, ip)
            if len(ip) == 4
            else nd.solicit(self._endpoint.mac, source, ip)
        )
        name = "ARP" if len(ip) == 4 else "neighbour discovery"
        action = self._tracer.decide(self._port, question)
        self._here(
            f"{name} for {address}: the switch {self._words(action)}",
            ok=not isinstance(action, Drop),
        )
        row = next((row for row in rows if ip in row.ips), None)
        if row is None:
            self._here(f"nobody is known to have {address}", ok=False)
            return None
        self._here(f"{address} is MAC {format_mac(row.mac)}: {self._where(row)}")
        return _Target(row.mac, ip, row)

    def _where(self, row: FdbRow | None) -> str:
        if row is None:
            return "not in the forwarding table"
        if row.port is not None:
            return f"endpoint {self._tracer.name_of_port(row.port)} of this host, by {row.source}"
        place = "" if row.vtep is None else self._tracer.name_of_vtep(row.vtep)
        return f"behind {place}, by {row.source}"

    def _common(self, ips: Sequence[Ip]) -> Ip | None:
        """The endpoint's address of the version of one of these."""
        versions = {len(ip) for ip in ips}
        return next((ip for ip in self._endpoint.ips if len(ip) in versions), None)

    def _frame(self, target: _Target, mark: bytes) -> tuple[bytes, str]:
        ips = target.row.ips if target.row is not None else ()
        to = target.ip if target.ip in ips else next(iter(ips), None)
        source = None if to is None else self._common((to,))
        if to is None or source is None:
            frame = HEADER.pack(target.mac, self._endpoint.mac, ETHERTYPE) + mark.ljust(46, b"\0")
            return frame, f"a frame to {format_mac(target.mac)}"
        identifier = int.from_bytes(mark[:2], "big")
        mac = self._endpoint.mac
        frame = echo.request(mac, target.mac, source, to, mark.ljust(32, b"\0"), identifier)
        return frame, f"an echo request of {format_ip(source)} to {format_ip(to)}"

    def _words(self, action: Action) -> str:
        match action:
            case Rewrite(change, then):
                whom = f" {format_ip(change.destination)}" if isinstance(change, Edit) else ""
                return f"has the service's member{whom} take it: {self._words(then)}"
            case Deliver(port):
                return f"gives it to endpoint {self._tracer.name_of_port(port)}"
            case Send(vtep):
                return f"sends it to {self._tracer.name_of_vtep(vtep)}"
            case Flood(ports, vteps):
                hosts = ", ".join(map(self._tracer.name_of_vtep, vteps)) or "no host"
                return f"floods it to {len(ports)} endpoints here and to {hosts}"
            case Reply():
                return "answers it here"
            case Drop(reason):
                return f"drops it: {reason}"

    def _members(self, action: Action) -> list[Member]:
        match action:
            case Rewrite(_, then):
                return self._members(then)
            case Send(vtep):
                found = [self._tracer.member_at(vtep)]
            case Flood(_, vteps):
                found = list(map(self._tracer.member_at, vteps))
            case _:
                found = []
        return [member for member in found if member is not None]

    def _report(
        self,
        action: Action,
        members: Sequence[Member],
        seen: Sequence[tuple[str, Seen]],
        ready: set[str],
    ) -> Trace:
        delivered = False
        here = self._tracer.host
        began = seen[0][1].at_ns if seen else 0
        asked = f"endpoint {self._endpoint.name}"
        is_probe = [
            what.source == asked if host == here else what.source.startswith("peer")
            for host, what in seen
        ]
        # Clocks of hosts differ, so the order is that of a frame's way: there, and back.
        way = [*zip(seen, is_probe, strict=True)]
        way.sort(key=lambda leg: (not leg[1], (leg[0][0] == here) != leg[1]))
        for (host, what), probe in way:
            back = host == here and not probe
            subject = "the probe" if probe else "the answer"
            after = f" after {(what.at_ns - began) / 1e6:.2f} ms" if back else ""
            result = f"{what.verb}{f': {what.reason}' if what.reason else ''}"
            to = f" to {what.target}" if what.target else ""
            ok = what.verb != Verb.DROPPED
            came = f"{subject} came from {what.source}{after} and was {result}{to}"
            self._steps.append(Step(host, came, ok))
            delivered |= what.verb == Verb.DELIVERED or (
                what.verb == Verb.FLOODED and what.source.startswith("peer")
            )
        silent = [m.name for m in members if m.name not in {host for host, _ in seen}]
        for name in silent:
            why = "" if name in ready else "; it could not be asked to look out for it"
            self._steps.append(Step(name, f"the probe was not seen{why}", ok=False))
        if not seen:
            self._here("the probe did not pass the datapath", ok=False)
        if isinstance(action, Send) and not members:
            self._here(f"{action.vtep} is no host of the cluster, so nobody can tell", ok=False)
        return self._end(delivered=delivered)
