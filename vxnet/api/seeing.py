"""What the control API tells who looks for faults: frames as they pass, ways to hosts, facts."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from vxnet.api.routes import Route, read_body
from vxnet.api.seen import (
    AlarmView,
    FactsView,
    ProbeView,
    SightView,
    StepView,
    TraceBody,
    TraceView,
    UnreadableView,
)
from vxnet.api.views import Views
from vxnet.captures import Captures
from vxnet.config import Settings
from vxnet.datapath.sight import SNAP_MAX, Sight
from vxnet.errors import WireError
from vxnet.forwarding import OUTER_BYTES
from vxnet.gossip.member import Address
from vxnet.probe.channel import LIVE
from vxnet.probe.prober import Found, Prober
from vxnet.tracer import Tracer
from vxnet.wire.addr import Vtep, format_ip

__all__ = ["SeeingRoutes"]


@dataclass(frozen=True, slots=True)
class SeeingRoutes:
    """What is there to see beyond the daemon's state."""

    views: Views
    captures: Captures
    prober: Prober
    tracer: Tracer
    settings: Settings
    alarms: Callable[[], Sequence[tuple[str, str, float]]]
    unreadable: Callable[[], Sequence[tuple[Address, str, float]]]
    seeds: Callable[[], Sequence[Address]]

    def all(self) -> Sequence[Route]:
        """Every route there is."""
        return (
            ("GET", "/v1/capture", self._capture),
            ("GET", "/v1/probe", self._probe),
            ("GET", "/v1/facts", self._facts),
            ("POST", "/v1/trace", self._trace),
        )

    async def _probe(self, _: web.Request) -> Any:
        """Ask every other host; those that are down or left are not waited for."""
        members = [member for member in self.views.control.members() if not member.local]
        live = [member for member in members if member.state in LIVE]
        return list(map(self._probe_view, await asyncio.gather(*map(self.prober.probe, live))))

    def _probe_view(self, found: Found) -> ProbeView:
        overhead = OUTER_BYTES[len(found.member.vtep.ip)]
        largest = [
            size and size + overhead for size in (found.largest_arrives, found.largest_returns)
        ]
        view = self.views.member(found.member)
        return ProbeView(
            peer=view.name,
            state=view.state,
            vtep=view.vtep,
            gossip=view.gossip,
            letter_arrives=found.letter_arrives,
            letter_returns=found.letter_returns,
            connects=found.connects,
            frame_arrives=found.frame_arrives,
            frame_returns=found.frame_returns,
            largest_arrives=largest[0],
            largest_returns=largest[1],
            expected=self.prober.frame_max + overhead,
            rtt_ms=_milliseconds(found.rtt_s),
            clock_ahead_ms=_milliseconds(found.clock_ahead_s),
        )

    async def _trace(self, request: web.Request) -> Any:
        body = await read_body(request, TraceBody)
        trace = await self.tracer.trace(body.network, body.source, body.target)
        steps = tuple(StepView(step.host, step.text, step.ok) for step in trace.steps)
        return TraceView(steps, trace.delivered)

    async def _facts(self, _: web.Request) -> Any:
        return FactsView(
            settings=msgspec.to_builtins(self.settings),
            alarms=tuple(AlarmView(kind, text, age) for kind, text, age in self.alarms()),
            unreadable=tuple(UnreadableView(str(a), why, age) for a, why, age in self.unreadable()),
            table=tuple(self.views.forwarding.verify()),
            seeds=tuple(map(str, self.seeds())),
        )

    async def _capture(self, request: web.Request) -> Any:
        name = request.query.get("network")
        only = None if name is None else self.views.networks.get(name).vni
        snap = _number(request.query.get("snap", str(SNAP_MAX)), "snap", 1, SNAP_MAX)
        capture = self.captures.open(snap, lambda sight: name is None or sight.vni == only)
        try:
            answer = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
            await answer.prepare(request)
            await answer.write(b"\n")  # now it is sure that no later frame escapes
            while True:
                sights, missed = await capture.fetch()
                if not sights:
                    return answer  # the daemon ends
                lines = bytearray()
                for view in self._views(sights, snap, missed):
                    lines += msgspec.json.encode(view) + b"\n"
                # Waits while the client is behind; what comes meanwhile is missed, not kept.
                await answer.write(lines)
        except ConnectionError:
            return answer  # it has enough
        finally:
            self.captures.close(capture)

    def _views(self, sights: Sequence[Sight], snap: int, missed: int) -> list[SightView]:
        names = _Names(self.views)
        shown = []
        for sight in sights:
            shown.append(names.view(sight, snap, missed))
            missed = 0
        return shown


class _Names:
    """What people call what sights have numbers of."""

    def __init__(self, views: Views) -> None:
        self._host = views.identity.name
        self._networks = views.network_names()
        self._endpoints = views.endpoint_names()
        self._peers = views.host_names()
        self._by_ip = {vtep.ip: vtep for vtep in self._peers}

    def view(self, sight: Sight, snap: int, missed: int) -> SightView:
        """A sight in words."""
        end = sight.end
        vtep = end.vtep
        outbound = isinstance(sight.entrance, int)
        if isinstance(sight.entrance, int):
            source = self._endpoints.get(sight.entrance, f"port {sight.entrance}")
        else:
            vtep = self._by_ip.get(sight.entrance)
            source = format_ip(sight.entrance) if vtep is None else self._peers[vtep]
        target = ""
        if end.port is not None:
            target = self._endpoints.get(end.port, f"port {end.port}")
        elif end.vtep is not None:
            target = self._peer(end.vtep)
        return SightView(
            host=self._host,
            at_ns=sight.at_ns,
            vni=sight.vni,
            network=self._networks.get(sight.vni, ""),
            outbound=outbound,
            source=source,
            verb=str(end.verb),
            target=target,
            vtep="" if vtep is None else str(vtep),
            reason="" if end.reason is None else str(end.reason),
            ports=end.ports,
            vteps=end.vteps,
            frames=sight.frames,
            length=sight.length,
            octets=sight.octets[:snap],
            missed=missed,
        )

    def _peer(self, vtep: Vtep) -> str:
        return self._peers.get(vtep, str(vtep))


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _number(text: str, name: str, least: int, most: int) -> int:
    if text.isascii() and text.isdigit() and least <= int(text) <= most:
        return int(text)
    raise WireError(f"{name}={text!r} is not a number from {least} to {most}")
