"""From the other hosts to the links: receive a burst, decide, join, write once."""

from collections.abc import Mapping, Sequence

import numpy as np

from vxnet.datapath.ledger import Ledger, add_drops
from vxnet.datapath.ports import NO_LIMIT, Ports
from vxnet.datapath.sight import End, Recorder, Verb
from vxnet.switch.actions import Action, Deliver, Drop, DropReason, Flood, Rewrite, Send
from vxnet.switch.forward import Switch
from vxnet.underlay.base import Burst, Underlay
from vxnet.wire import ecn, ip, mss, rewrite, virtio, vxlan
from vxnet.wire.addr import Ip, Vni, Vtep
from vxnet.wire.coalesce import Run, join, runs
from vxnet.wire.ethernet import Buffer
from vxnet.wire.sums import Octets

__all__ = ["Inbound"]

_BURSTS_MAX = 64
_BATCH_BYTES = 524_288  # received for one wake-up, so that others get their turn
_PREFIX_BYTES = vxlan.HEADER_BYTES
_BURST_MAX_BYTES = 65_536
_SHORTEST = vxlan.HEADER_BYTES + 14

_ECN_CONGESTED = Drop(DropReason.ECN_CONGESTED)


class Inbound:
    """What tunnels bring. Frames keep their order."""

    def __init__(
        self,
        switch: Switch,
        ports: Ports,
        underlay: Underlay,
        ledger: Ledger,
        paths: Mapping[Vtep, int],
        recorder: Recorder,
    ) -> None:
        """`paths` is how long a frame to each VTEP may be, where that is known."""
        self._recorder = recorder
        self._switch = switch
        self._ports = ports
        self._underlay = underlay
        self._ledger = ledger
        self._paths = paths
        self.peers: dict[Ip, Vtep] = {}  # by their address; who is not here has no counters
        self.mtus: dict[Vni, int] = {}  # of the networks
        # As wide again as a burst: its last row is looked at as if it had full width.
        self._octets = np.zeros(2 * _BURST_MAX_BYTES, np.uint8)
        self._buffer = self._octets[:_BURST_MAX_BYTES].data
        self._joined = np.empty(2 * _BURST_MAX_BYTES, np.uint8)
        self._joined_view = self._joined.data

    def drain(self, now: float) -> None:
        """Carry what the underlay has, up to a batch."""
        octets = 0
        for _ in range(_BURSTS_MAX):
            burst = self._underlay.receive(self._buffer)
            if burst is None:
                return
            self._carry(burst, now)
            octets += burst.size
            if octets > _BATCH_BYTES:
                return

    def _carry(self, burst: Burst, now: float) -> None:
        """Take a burst apart into runs of frames that belong together, and decide on each."""
        size, stride = burst.size, burst.stride
        if burst.truncated:
            self._ledger.note("truncated")
            add_drops(self._ledger.stray, DropReason.VXLAN_SHORT, 1)
            size -= size % stride or stride  # the last one lost its end
        if stride < _SHORTEST:
            # An empty datagram has no octets to divide, and is one all the same.
            short = max(1, -(-size // max(stride, 1)))
            add_drops(self._ledger.stray, DropReason.VXLAN_SHORT, short)
            if self._recorder.on:
                end = End(Verb.DROPPED, reason=DropReason.VXLAN_SHORT)
                frame = self._buffer[min(size, _PREFIX_BYTES) : min(size, stride)]
                self._recorder.note(Vni(0), burst.source, end, frame, short)
            return
        count = -(-size // stride)
        marked = burst.tos & ecn.MASK in ecn.MAY_CHANGE
        if count < 2 or (marked and not self._mark(size, stride, burst.tos)):
            for at in range(0, size, stride):
                self._carry_frame(self._buffer[at : min(at + stride, size)], burst, now)
            return
        last = size - (count - 1) * stride
        rows = self._octets[: count * stride].reshape(count, stride)
        for run in runs(rows, last, _PREFIX_BYTES, udp=self._ports.uso):
            if run.frames == 1:
                at = run.first * stride
                self._carry_frame(self._buffer[at : min(at + stride, size)], burst, now)
            else:
                self._carry_run(rows, last, run, burst, now)

    def _mark(self, size: int, stride: int, tos: int) -> bool:
        """Bring a burst's congestion mark into all its frames; False where any must be dropped."""
        return all(
            ecn.decapsulate(self._buffer[at + _PREFIX_BYTES : min(at + stride, size)], tos)
            for at in range(0, size, stride)
        )

    def _carry_frame(self, datagram: memoryview, burst: Burst, now: float) -> None:
        """One frame by itself."""
        try:
            vni, reserved = vxlan.parse(datagram)
        except vxlan.VxlanError as error:
            self._stray(datagram, burst.source, DropReason(error.fault))
            return
        frame = datagram[_PREFIX_BYTES:]
        if burst.tos & ecn.MASK in ecn.MAY_CHANGE and not ecn.decapsulate(frame, burst.tos):
            action: Action = _ECN_CONGESTED
        else:
            action = self._switch.from_underlay(vni, burst.source, frame, now, reserved)
        if isinstance(action, Rewrite):
            frame, action = _rewrite(frame, action, is_partial=False)
        if mss.may_be_syn(frame):
            self._clamp(frame, vni, burst.source)
        reason = self._act(action, vni, burst.source, (virtio.PLAIN, frame), 1, len(frame))
        if self._recorder.on:
            self._note(action, reason, vni, burst.source, frame, 1)

    def _clamp(self, frame: memoryview, vni: Vni, source: Ip) -> None:
        """What answers a SYN has to fit the way back."""
        peer, mtu = self.peers.get(source), self.mtus.get(vni)
        if peer is not None and mtu is not None:
            mss.clamp(frame, mtu, self._paths.get(peer, NO_LIMIT), is_open=False)

    def _carry_run(self, rows: Octets, last: int, run: Run, burst: Burst, now: float) -> None:
        """Several frames as one super-frame; they are alike in all that the switch looks at."""
        stride = rows.shape[1]
        at = run.first * stride
        try:
            vni, reserved = vxlan.parse(self._buffer[at : at + stride])
        except vxlan.VxlanError as error:
            for number in range(run.first, run.first + run.frames):
                datagram = self._buffer[number * stride : (number + 1) * stride]
                self._stray(datagram, burst.source, DropReason(error.fault))
            return
        frame = self._buffer[at + _PREFIX_BYTES : at + stride]
        action = self._switch.from_underlay(vni, burst.source, frame, now, reserved)
        octets = run.frames * (stride - _PREFIX_BYTES)
        if run.first + run.frames == len(rows):
            octets -= stride - last
        parts: Sequence[memoryview] = ()
        if not isinstance(action, Drop):
            used = join(rows, last, _PREFIX_BYTES, run, self._joined)
            joined = self._joined_view[:used]
            parts = (joined,)
            if isinstance(action, Rewrite):
                _, action = _rewrite(joined[virtio.HEADER_BYTES :], action, is_partial=True)
        reason = self._act(action, vni, burst.source, parts, run.frames, octets)
        if self._recorder.on:
            # What is dropped was never joined, so its first frame stands for it.
            whole = parts[0][virtio.HEADER_BYTES :] if parts else frame
            self._note(action, reason, vni, burst.source, whole, run.frames)

    def _stray(self, datagram: memoryview, source: Ip, reason: DropReason) -> None:
        """A datagram that is no frame of any network."""
        add_drops(self._ledger.stray, reason, 1)
        if self._recorder.on:
            frame = datagram[_PREFIX_BYTES:]
            self._recorder.note(Vni(0), source, End(Verb.DROPPED, reason=reason), frame)

    def _note(
        self,
        action: Action,
        reason: DropReason | None,
        vni: Vni,
        source: Ip,
        frame: memoryview,
        frames: int,
    ) -> None:
        match action:
            case _ if reason is not None:
                end = End(Verb.DROPPED, reason=reason)
            case Deliver(port_id):
                end = End(Verb.DELIVERED, port=port_id)
            case Flood(port_ids, _):
                end = End(Verb.FLOODED, ports=len(port_ids))
            case _:
                return  # neither sent nor replied to: that would have a reason
        self._recorder.note(vni, source, end, frame, frames)

    def _act(
        self,
        action: Action,
        vni: Vni,
        source: Ip,
        parts: Sequence[Buffer],
        frames: int,
        octets: int,
    ) -> DropReason | None:
        """Carry the switch's decision out, and book it for the network and for the peer.

        Returns why it went nowhere, if so.
        """
        tunnel = self._ledger.tunnels.get(vni)
        if tunnel is None:
            add_drops(self._ledger.stray, DropReason.UNKNOWN_VNI, frames)
            return DropReason.UNKNOWN_VNI
        peer = self.peers.get(source)
        books = (tunnel,) if peer is None else (tunnel, self._ledger.peer(peer))
        reason: DropReason | None = None
        flooded = 0
        match action:
            case Deliver(port_id):
                reason = self._ports.deliver(port_id, parts, frames, octets)
            case Flood(port_ids, _):
                flooded = frames
                for port_id in port_ids:
                    if self._ports.deliver(port_id, parts, frames, octets) is not None:
                        self._ledger.note("copies_lost", frames)
            case Drop(reason):
                if reason is DropReason.UNKNOWN_VTEP:
                    self._ledger.meet(source, frames)
            case _:  # RFC 7348 §4.2: nothing goes from tunnel to tunnel
                reason = DropReason.SPLIT_HORIZON
        for counters in books:
            counters.received += frames
            counters.received_bytes += octets
            if reason is not None:
                add_drops(counters.drops, reason, frames)
            elif flooded:
                counters.flooded += frames
            else:
                counters.delivered += frames
        return reason


def _rewrite(
    frame: memoryview, action: Rewrite, *, is_partial: bool
) -> tuple[memoryview, Deliver | Send]:
    """The frame as it shall be, and where it goes."""
    if isinstance(action.change, bytes):
        return memoryview(action.change), action.then
    packet = ip.locate(frame)
    assert packet is not None
    change, has_ports = action.change, action.has_ports
    rewrite.apply(change, frame, packet, is_partial=is_partial, has_ports=has_ports)
    return frame, action.then
