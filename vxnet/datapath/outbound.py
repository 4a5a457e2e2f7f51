"""From a link to the other hosts: read a batch, decide, cut late, send in bursts."""

import os
import time
from collections.abc import Mapping, Sequence

import numpy as np

from vxnet.datapath.advice import Adviser
from vxnet.datapath.ledger import Ledger, add_drops
from vxnet.datapath.ports import NO_LIMIT, Attachment, Ports
from vxnet.datapath.sight import End, Recorder, Verb
from vxnet.errors import WireError
from vxnet.switch.actions import (
    Deliver,
    Drop,
    DropReason,
    Flood,
    PortId,
    Reply,
    Rewrite,
    Send,
)
from vxnet.switch.forward import Switch
from vxnet.underlay.base import BURST_BYTES, BURST_DATAGRAMS, Refusal, Underlay
from vxnet.wire import checksum, ethernet, ip, mss, rewrite, virtio, vxlan
from vxnet.wire.addr import Vtep
from vxnet.wire.ecn import outer_tos
from vxnet.wire.ethernet import Buffer
from vxnet.wire.flow import flow_hash
from vxnet.wire.segment import Plan, cut, plan
from vxnet.wire.virtio import Flag

__all__ = ["Outbound"]

_READS_MAX = 64
_BATCH_BYTES = 524_288  # read for one wake-up, so that others get their turn within milliseconds
_ROOM_BYTES = 262_144
_FRAME_MAX_BYTES = 65_550
_PREFIX_BYTES = vxlan.HEADER_BYTES
_LAST_START = _ROOM_BYTES - _PREFIX_BYTES - _FRAME_MAX_BYTES
_NEEDS_CHECKSUM = int(Flag.NEEDS_CHECKSUM)
_FLAGS_AT, _GSO_AT = 0, 1  # in the virtio_net_hdr


class _Burst:
    """Datagrams of one flow that wait to leave in one send: each as long as the first."""

    __slots__ = ("flooded", "flow", "octets", "parts", "stride", "to", "tos")

    def __init__(self, to: Vtep, flow: int, flooded: bool) -> None:
        self.to = to
        self.flow = flow
        self.flooded = flooded
        self.parts: list[memoryview] = []
        self.tos = self.stride = self.octets = 0


class Outbound:
    """What links send. Frames of one flow keep their order; one call serves one link."""

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
        self.adviser = Adviser()
        self._vnet = bytearray(virtio.HEADER_BYTES)  # of the frame at hand
        # Frames land one behind the other, each behind room for its VXLAN header.
        self._room = memoryview(bytearray(_ROOM_BYTES))
        self._cut = np.empty(_ROOM_BYTES, np.uint8)
        self._bursts: dict[tuple[Vtep, int, bool], _Burst] = {}

    def drain(self, attachment: Attachment, now: float) -> None:
        """Carry what the link has, up to a batch. Raises OSError where the link fails."""
        room, vnet, fd = self._room, self._vnet, attachment.fd
        start = octets = 0
        try:
            for _ in range(_READS_MAX):
                if start > _LAST_START:
                    self._flush(attachment)
                    start = 0
                begin = start + _PREFIX_BYTES
                try:
                    size = os.readv(fd, (vnet, room[begin:])) - virtio.HEADER_BYTES
                except BlockingIOError:
                    break
                if size < 0:
                    attachment.counters.received += 1
                    self._drop(attachment, b"", DropReason.FRAME_SHORT, 1)
                elif vnet[_GSO_AT]:
                    self._carry_super(attachment, room[begin : begin + size], now)
                else:
                    self._carry(attachment, room[start : begin + size], now)
                    start = begin + size
                octets += size
                if octets > _BATCH_BYTES:
                    break
        finally:
            self._flush(attachment)

    def inject(self, attachment: Attachment, frame: bytes, now: float) -> None:
        """Carry a plain frame as if the link had sent it."""
        self._vnet[:] = virtio.PLAIN
        end = _PREFIX_BYTES + len(frame)
        self._room[_PREFIX_BYTES:end] = frame
        self._carry(attachment, self._room[:end], now)
        self._flush(attachment)

    # One frame

    def _carry(self, attachment: Attachment, datagram: memoryview, now: float) -> None:
        """Decide on a frame, which has room for its VXLAN header before it."""
        frame = datagram[_PREFIX_BYTES:]
        counters = attachment.counters
        counters.received += 1
        counters.received_bytes += len(frame)
        action = self._switch.from_link(attachment.port.id, frame, now)
        if isinstance(action, Rewrite):
            datagram, frame, action = self._rewrite(datagram, frame, action)
        match action:
            case Send(to):
                reason = self._make_ready(attachment, datagram, frame, to)
                if reason is None:
                    self._queue(attachment, to, datagram, frame, flooded=False)
                else:
                    self._refuse(attachment, to, frame, reason, 1, now)
            case Deliver(port_id):
                self._deliver(attachment, port_id, frame, 1, len(frame))
            case Flood(port_ids, vteps):
                counters.flooded += 1
                self._note_flood(attachment, frame, port_ids, vteps, 1)
                self._copy(port_ids, frame, 1, len(frame))
                for to in vteps:
                    if self._make_ready(attachment, datagram, frame, to) is None:
                        self._queue(attachment, to, datagram, frame, flooded=True)
                        self._vnet[_FLAGS_AT] = 0  # its checksum is in it now
                    else:
                        self._ledger.note("copies_lost")
            case Reply(answer):
                self._reply(attachment, answer, frame, 1)
            case Drop(reason):
                self._drop(attachment, frame, reason, 1)

    def _rewrite(
        self, datagram: memoryview, frame: memoryview, action: Rewrite
    ) -> tuple[memoryview, memoryview, Deliver | Send]:
        """The frame as it shall be, behind its room again, and where it goes."""
        if isinstance(action.change, bytes):
            datagram = memoryview(bytearray(_PREFIX_BYTES) + action.change)
            return datagram, datagram[_PREFIX_BYTES:], action.then
        packet = ip.locate(frame)
        assert packet is not None
        is_partial = bool(self._vnet[_FLAGS_AT] & _NEEDS_CHECKSUM)
        change, has_ports = action.change, action.has_ports
        rewrite.apply(change, frame, packet, is_partial=is_partial, has_ports=has_ports)
        return datagram, frame, action.then

    def _make_ready(
        self, attachment: Attachment, datagram: memoryview, frame: memoryview, to: Vtep
    ) -> DropReason | None:
        """Give a frame all it needs to travel, or say why it cannot."""
        path = self._paths.get(to, NO_LIMIT)
        if len(frame) > attachment.frame_max_bytes or len(frame) > path:
            return DropReason.TOO_BIG
        is_open = bool(self._vnet[_FLAGS_AT] & _NEEDS_CHECKSUM)
        if mss.may_be_syn(frame):
            mss.clamp(frame, attachment.mtu, path, is_open=is_open)
        if is_open:
            start, offset = virtio.HEADER.unpack(self._vnet)[4:]
            try:
                checksum.complete(frame, start, offset)
            except WireError:
                return DropReason.FRAME_MALFORMED
        datagram[:_PREFIX_BYTES] = attachment.header
        return None

    def _queue(
        self,
        attachment: Attachment,
        to: Vtep,
        datagram: memoryview,
        frame: memoryview,
        *,
        flooded: bool,
    ) -> None:
        """Let a datagram wait for more of its flow; send what may wait no longer."""
        flow = flow_hash(frame)
        tos = outer_tos(frame) & attachment.tos_mask | attachment.tos_fixed
        key = (to, flow, flooded)
        size = len(datagram)
        burst = self._bursts.get(key)
        if burst is None:
            burst = self._bursts[key] = _Burst(to, flow, flooded)
        elif burst.parts and (
            size > burst.stride
            or tos != burst.tos
            or len(burst.parts) >= BURST_DATAGRAMS
            or burst.octets + size > BURST_BYTES
        ):
            self._send(attachment, burst)
        if not burst.parts:
            burst.stride, burst.tos = size, tos
        burst.parts.append(datagram)
        burst.octets += size
        if size < burst.stride:
            self._send(attachment, burst)  # only a burst's last datagram may be shorter

    def _send(self, attachment: Attachment, burst: _Burst) -> None:
        """Let a burst go."""
        frames = len(burst.parts)
        octets = burst.octets - frames * _PREFIX_BYTES
        began_ns = time.time_ns() if self._recorder.on else 0
        refusal = self._underlay.send(burst.to, burst.flow, burst.tos, burst.parts, burst.stride)
        self._count_sent(attachment, burst.to, frames, octets, refusal, flooded=burst.flooded)
        if self._recorder.on and not burst.flooded:
            self._note_sent(attachment, burst.to, burst.parts, refusal, began_ns)
        burst.parts = []
        burst.octets = 0

    def _flush(self, attachment: Attachment) -> None:
        """Let all that waits go."""
        for burst in self._bursts.values():
            if burst.parts:
                self._send(attachment, burst)
        self._bursts.clear()

    # One super-frame

    def _carry_super(self, attachment: Attachment, frame: memoryview, now: float) -> None:
        """Decide at once on all the frames that a super-frame stands for."""
        counters = attachment.counters
        try:
            planned = plan(frame, virtio.parse(self._vnet))
        except WireError:
            counters.received += 1
            counters.received_bytes += len(frame)
            self._drop(attachment, frame, DropReason.FRAME_MALFORMED, 1)
            return
        frames, octets = planned.frames, planned.octets
        counters.received += frames
        counters.received_bytes += octets
        action = self._switch.from_link(attachment.port.id, frame, now)
        if isinstance(action, Rewrite):
            _, frame, action = self._rewrite(frame, frame, action)
        match action:
            case Send(to):
                reason = self._send_super(attachment, (to,), frame, planned, flooded=False)
                if reason is not None:
                    self._refuse(attachment, to, frame, reason, frames, now)
            case Deliver(port_id):
                self._deliver(attachment, port_id, frame, frames, octets)
            case Flood(port_ids, vteps):
                counters.flooded += frames
                self._note_flood(attachment, frame, port_ids, vteps, frames)
                self._copy(port_ids, frame, frames, octets)
                if self._send_super(attachment, vteps, frame, planned, flooded=True) is not None:
                    self._ledger.note("copies_lost", frames * len(vteps))
            case Reply(answer):
                self._reply(attachment, answer, frame, frames)
            case Drop(reason):
                self._drop(attachment, frame, reason, frames)

    def _send_super(
        self,
        attachment: Attachment,
        vteps: Sequence[Vtep],
        frame: memoryview,
        planned: Plan,
        *,
        flooded: bool,
    ) -> DropReason | None:
        """Cut it, and send the pieces in as few bursts as the kernel takes; or say why not."""
        fitting = [to for to in vteps if planned.largest <= self._paths.get(to, NO_LIMIT)]
        if planned.largest > attachment.frame_max_bytes or not (fitting or flooded):
            return DropReason.TOO_BIG
        try:
            done = cut(frame, planned, attachment.header, self._cut)
        except WireError:
            return DropReason.FRAME_MALFORMED
        flow = flow_hash(frame)
        tos = outer_tos(frame) & attachment.tos_mask | attachment.tos_fixed
        if len(fitting) < len(vteps):
            self._ledger.note("copies_lost", planned.frames * (len(vteps) - len(fitting)))
        parts = (self._cut[: done.size].data,)
        for to in fitting:
            waiting = self._bursts.get((to, flow, flooded))
            if waiting is not None and waiting.parts:
                self._send(attachment, waiting)  # what came before leaves before
            began_ns = time.time_ns() if self._recorder.on else 0
            refusal = self._underlay.send(to, flow, tos, parts, done.stride)
            self._count_sent(attachment, to, done.frames, planned.octets, refusal, flooded=flooded)
            if self._recorder.on and not flooded:
                pieces = range(0, done.size, done.stride)
                datagrams = [parts[0][at : at + done.stride] for at in pieces]
                self._note_sent(attachment, to, datagrams, refusal, began_ns)
        return None

    # To ports of this host

    def _deliver(
        self, attachment: Attachment, port_id: PortId, frame: memoryview, frames: int, octets: int
    ) -> None:
        """A frame stays on this host: as it came, whatever it is, with its `virtio_net_hdr`."""
        reason = self._ports.deliver(port_id, (self._vnet, frame), frames, octets)
        if reason is not None:
            self._drop(attachment, frame, reason, frames)
            return
        attachment.counters.delivered += frames
        if self._recorder.on:
            port = attachment.port
            end = End(Verb.DELIVERED, port=port_id)
            self._recorder.note(port.vni, port.id, end, frame, frames)

    def _drop(self, attachment: Attachment, frame: Buffer, reason: DropReason, frames: int) -> None:
        """A frame goes nowhere."""
        add_drops(attachment.counters.drops, reason, frames)
        if self._recorder.on:
            port = attachment.port
            end = End(Verb.DROPPED, reason=reason)
            self._recorder.note(port.vni, port.id, end, frame, frames)

    def _refuse(
        self,
        attachment: Attachment,
        to: Vtep,
        frame: memoryview,
        reason: DropReason,
        frames: int,
        now: float,
    ) -> None:
        """Drop what cannot travel; who sent what is too big is told."""
        self._drop(attachment, frame, reason, frames)
        if reason is DropReason.TOO_BIG:
            port_id = attachment.port.id
            mtu = min(attachment.mtu, self._paths.get(to, NO_LIMIT) - ethernet.HEADER_BYTES)
            told = self.adviser.advise(port_id, frame, mtu, now)
            if told is not None:
                self._ports.deliver(port_id, (virtio.PLAIN, told), 1, len(told))

    def _copy(
        self, port_ids: Sequence[PortId], frame: memoryview, frames: int, octets: int
    ) -> None:
        for port_id in port_ids:
            if self._ports.deliver(port_id, (self._vnet, frame), frames, octets) is not None:
                self._ledger.note("copies_lost", frames)

    def _reply(self, attachment: Attachment, answer: bytes, frame: memoryview, frames: int) -> None:
        reason = self._ports.deliver(attachment.port.id, (virtio.PLAIN, answer), 1, len(answer))
        if reason is not None:
            self._drop(attachment, frame, reason, frames)
            return
        attachment.counters.replied += frames
        if self._recorder.on:
            port = attachment.port
            self._recorder.note(port.vni, port.id, End(Verb.REPLIED), frame, frames)

    # For who captures

    def _note_flood(
        self,
        attachment: Attachment,
        frame: memoryview,
        port_ids: Sequence[PortId],
        vteps: Sequence[Vtep],
        frames: int,
    ) -> None:
        if self._recorder.on:
            port = attachment.port
            end = End(Verb.FLOODED, ports=len(port_ids), vteps=len(vteps))
            self._recorder.note(port.vni, port.id, end, frame, frames)

    def _note_sent(
        self,
        attachment: Attachment,
        to: Vtep,
        datagrams: Sequence[memoryview],
        refusal: Refusal | None,
        began_ns: int,
    ) -> None:
        """Of a burst that left in part, the last ones are taken for those that did not.

        They were sent at `began_ns`: before another host, which may watch too, has them.
        """
        left = len(datagrams) - (0 if refusal is None else refusal.datagrams)
        sent = End(Verb.SENT, vtep=to)
        lost = sent if refusal is None else End(Verb.DROPPED, reason=refusal.reason)
        port = attachment.port
        for number, datagram in enumerate(datagrams):
            end = sent if number < left else lost
            self._recorder.note(port.vni, port.id, end, datagram[_PREFIX_BYTES:], at_ns=began_ns)

    def _count_sent(
        self,
        attachment: Attachment,
        to: Vtep,
        frames: int,
        octets: int,
        refusal: Refusal | None,
        *,
        flooded: bool,
    ) -> None:
        """Book what left and what did not; octets of a refused part are estimated by its share."""
        refused = 0 if refusal is None else refusal.datagrams
        if refusal is not None:
            octets = octets * (frames - refused) // frames
            if flooded:
                self._ledger.note("copies_lost", refused)
            else:
                add_drops(attachment.counters.drops, refusal.reason, refused)
        if not flooded:
            attachment.counters.sent += frames - refused
        for counters in (self._ledger.peer(to), attachment.tunnel):
            counters.out += frames - refused
            counters.out_bytes += octets
