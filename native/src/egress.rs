//! Frames from the links of this host: to other ports of it, or cut, wrapped and sent.

use std::io::{self, ErrorKind, IoSlice};
use std::mem;
use std::ops::Range;
use std::sync::Arc;

use crate::counters::{Amount, Fate, Io, Reason};
use crate::decide::{Outward, View};
use crate::flows::Carried;
use crate::model::{Port, Segment, Vtep};
use crate::mss;
use crate::offload::cut::{self, Cut};
use crate::outbox::{Heading, Outbox, Senders};
use crate::packet::{self, Packet};
use crate::punt::{self, Origin};
use crate::rewrite;
use crate::room::Room;
use crate::strangers::Strangers;
use crate::vnet::{self, Gso, Header};
use crate::vxlan::{self, Remote};
use crate::watch::{End, Watch};

/// Octets one read of a link may bring.
pub const READ_MAX: usize = vnet::BYTES + 65_550;

/// What super-frames were cut into: a burst, and the rest of one.
const CUTS: usize = 2 * 65_536;
/// Where frames are read to, behind the room for those.
const BUFFER: usize = CUTS + 256 * 1024;

/// What carrying frames out needs besides the frames.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// What the decisions rest on.
    pub view: View<'a>,
    /// The way out.
    pub senders: &'a Senders,
    /// The way up.
    pub punts: &'a punt::Queue,
    /// The machinery's own counters.
    pub io: &'a Io,
    /// Whoever sent frames and is no peer.
    pub strangers: &'a Strangers,
    /// Who looks on.
    pub watch: &'a Watch,
    /// Which queue of a link to write to, of those it has.
    pub queue: usize,
}

/// One thread's room for frames on their way out.
pub struct Egress {
    buffer: Room,
    used: usize,
    cuts_used: usize,
    outbox: Outbox,
    octets: usize,
}

impl Default for Egress {
    fn default() -> Self {
        let buffer = Room::new(BUFFER);
        Self { buffer, used: CUTS, cuts_used: 0, outbox: Outbox::default(), octets: 0 }
    }
}

impl Egress {
    /// Read a queue of a port until it is empty or `most` frames were read. Says whether there may
    /// be more. Fails as the link does; what was read before is on its way.
    pub fn drain(
        &mut self,
        context: Context,
        port: &Arc<Port>,
        queue: usize,
        most: usize,
    ) -> io::Result<bool> {
        let (Some(segment), Some(queue)) =
            (context.view.model.segments.get(&port.vni), port.queues.get(queue))
        else {
            return Ok(false);
        };
        let mut outcome = Ok(true);
        for _ in 0..most {
            if self.buffer.len() - self.used < READ_MAX {
                self.flush(context);
            }
            match queue.read(&mut self.buffer[self.used..][..READ_MAX]) {
                Ok(0) => {
                    outcome = Err(ErrorKind::UnexpectedEof.into());
                    break;
                }
                Ok(octets) => {
                    self.octets += octets;
                    let read = self.used..self.used + octets;
                    self.used = read.end;
                    self.carry(context, port, segment, read);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    outcome =
                        if error.kind() == ErrorKind::WouldBlock { Ok(false) } else { Err(error) };
                    break;
                }
            }
        }
        self.flush(context);
        outcome
    }

    // What was pushed must leave before it is written over.
    fn make_room(&mut self, context: Context, octets: usize) {
        if CUTS - self.cuts_used < octets {
            self.outbox.flush(&self.buffer, context);
            self.cuts_used = 0;
        }
    }

    fn flush(&mut self, context: Context) {
        self.outbox.flush(&self.buffer, context);
        self.used = CUTS;
        self.cuts_used = 0;
    }

    /// Octets read and bursts sent since the last time.
    pub fn take_load(&mut self) -> (usize, usize) {
        (mem::take(&mut self.octets), mem::take(&mut self.outbox.sends))
    }

    /// Let go of ports and VTEPs.
    pub fn forget(&mut self) {
        self.outbox.forget();
    }

    /// Carry out what the switch decided about a frame that it was handed, `virtio_net_hdr` first.
    pub fn carry_out(
        &mut self,
        context: Context,
        port: &Arc<Port>,
        segment: &Segment,
        octets: &[u8],
        decision: Outward,
    ) {
        match self.place(octets) {
            Ok(parcel) => self.act(context, port, segment, &parcel, decision),
            Err((amount, reason)) => {
                port.counters.settle(amount.frames, Err(reason));
                tell_malformed(context, port, reason, octets);
            }
        }
        self.flush(context);
    }

    /// The same for a frame that is to have copies, which may be none.
    pub fn flood(
        &mut self,
        context: Context,
        port: &Arc<Port>,
        segment: &Segment,
        octets: &[u8],
        ports: &[&Arc<Port>],
        vteps: &[&Arc<Vtep>],
    ) {
        let mut parcel = match self.place(octets) {
            Ok(parcel) => parcel,
            Err((amount, reason)) => {
                tell_malformed(context, port, reason, octets);
                return port.counters.settle(amount.frames, Err(reason));
            }
        };
        let frames = parcel.amount.frames;
        port.counters.settle(frames, Ok(Fate::Flooded));
        let end = End::Flooded(ports.len() as u32, vteps.len() as u32);
        context.watch.note_from(port, end, frames, &self.buffer[parcel.frame.clone()]);
        for to in ports {
            // The links first: on the way to the underlay, the frame's own header is written over.
            if self.deliver(context, to, &parcel).is_err() {
                context.io.copies_lost.add(frames);
            }
        }
        for to in vteps {
            match self.send(context, port, segment, to, &parcel, true) {
                // It is in the buffer now, which all copies leave from; once more would undo it.
                Ok(()) => parcel.vnet.needs_checksum = false,
                Err(_) => context.io.copies_lost.add(frames),
            }
        }
        self.flush(context);
    }

    /// Carry a plain frame as if the port's link had just sent it.
    pub fn inject(&mut self, context: Context, port: &Arc<Port>, segment: &Segment, frame: &[u8]) {
        let read = self.used..self.used + vnet::BYTES + frame.len();
        self.buffer[self.used..][..vnet::BYTES].copy_from_slice(&vnet::PLAIN);
        self.buffer[self.used + vnet::BYTES..read.end].copy_from_slice(frame);
        self.used = read.end;
        self.carry(context, port, segment, read);
        self.flush(context);
    }

    fn place(&mut self, octets: &[u8]) -> Result<Parcel, (Amount, Reason)> {
        let read = self.used..self.used + octets.len();
        self.buffer[read.clone()].copy_from_slice(octets);
        self.used = read.end;
        self.open(read)
    }

    // One frame, which lies in the buffer behind its `virtio_net_hdr`.
    fn carry(&mut self, context: Context, port: &Arc<Port>, segment: &Segment, read: Range<usize>) {
        let mut parcel = match self.open(read.clone()) {
            Ok(parcel) => parcel,
            Err((amount, reason)) => {
                port.counters.receive(amount);
                port.counters.settle(amount.frames, Err(reason));
                return tell_malformed(context, port, reason, &self.buffer[read]);
            }
        };
        port.counters.receive(parcel.amount);
        let frame = &self.buffer[parcel.frame.clone()];
        let packet = parcel.packet.as_ref();
        let (decision, carried) = context.view.from_link(port, segment, frame, packet);
        if let Some(carried) = carried {
            self.rewrite(context, &mut parcel, &carried);
        }
        self.act(context, port, segment, &parcel, decision);
    }

    // A packet of a service's flow, or the super-frame of some, as it goes on.
    fn rewrite(&mut self, context: Context, parcel: &mut Parcel, carried: &Carried) {
        let frame = &mut self.buffer[parcel.frame.clone()];
        let Some(packet) = &parcel.packet else { return };
        rewrite::apply(&carried.edit, frame, packet, parcel.vnet.needs_checksum);
        if parcel.cut.is_some() {
            // It has sums of what was changed.
            parcel.cut = Cut::plan(frame, Some(packet), &parcel.vnet).ok();
        }
        context.view.flows.note(carried.number, parcel.amount, context.view.now);
    }

    fn open(&self, read: Range<usize>) -> Result<Parcel, (Amount, Reason)> {
        let octets = &self.buffer[read.clone()];
        let Some((header, frame)) = octets.split_first_chunk::<{ vnet::BYTES }>() else {
            return Err((Amount { frames: 1, octets: 0 }, Reason::FrameShort));
        };
        let whole = Amount::of(frame);
        let vnet = Header::parse(header).map_err(|_| (whole, Reason::FrameMalformed))?;
        let packet = Packet::locate(frame).unwrap_or(None);
        let (cut, amount) = match vnet.gso {
            Gso::None => (None, whole),
            _ => {
                let cut = Cut::plan(frame, packet.as_ref(), &vnet)
                    .map_err(|_| (whole, Reason::FrameMalformed))?;
                (Some(cut), Amount { frames: cut.count(), octets: cut.octets() })
            }
        };
        let frame = read.start + vnet::BYTES..read.end;
        Ok(Parcel { read, frame, vnet, packet, cut, amount })
    }

    fn act(
        &mut self,
        context: Context,
        port: &Arc<Port>,
        segment: &Segment,
        parcel: &Parcel,
        decision: Outward,
    ) {
        let mut to_port = 0;
        let outcome = match decision {
            Outward::Deliver(to) => {
                to_port = to.id;
                self.deliver(context, to, parcel).map(|()| Fate::Delivered)
            }
            Outward::Send(vtep) => {
                // Counted when it has left.
                match self.send(context, port, segment, vtep, parcel, false) {
                    Ok(()) => return,
                    Err(reason) => {
                        if reason == Reason::TooBig {
                            let frame_max = segment.settings.frame_max.min(vtep.frame_max());
                            self.punt(context, Origin::TooBig { port: port.id, frame_max }, parcel);
                        }
                        Err(reason)
                    }
                }
            }
            Outward::Drop(reason) => Err(reason),
            Outward::Punt => {
                if self.punt(context, Origin::Port(port.id), parcel) {
                    context.io.punts.add(1);
                    return; // counted when it was decided
                }
                context.io.punt_overflow.add(parcel.amount.frames);
                Err(Reason::RateLimited)
            }
        };
        port.counters.settle(parcel.amount.frames, outcome);
        let end = outcome.map_or_else(End::Dropped, |_| End::Delivered(to_port));
        let frame = &self.buffer[parcel.frame.clone()];
        context.watch.note_from(port, end, parcel.amount.frames, frame);
    }

    fn punt(&self, context: Context, origin: Origin, parcel: &Parcel) -> bool {
        let (header, frame) = self.buffer[parcel.read.clone()].split_at(vnet::BYTES);
        context.punts.push(origin, None, header.first_chunk().unwrap_or(&vnet::PLAIN), frame)
    }

    fn deliver(&self, context: Context, to: &Port, parcel: &Parcel) -> Result<(), Reason> {
        let pieces = [IoSlice::new(&self.buffer[parcel.read.clone()])];
        write(to, context.queue, &pieces)?;
        to.counters.leave(parcel.amount);
        Ok(())
    }

    // Wrap a frame for another host, or the frames that a super-frame stands for.
    fn send(
        &mut self,
        context: Context,
        port: &Arc<Port>,
        segment: &Segment,
        vtep: &Arc<Vtep>,
        parcel: &Parcel,
        is_copy: bool,
    ) -> Result<(), Reason> {
        let frame = &self.buffer[parcel.frame.clone()];
        let frame_max = segment.settings.frame_max.min(vtep.frame_max());
        if parcel.cut.map_or(frame.len(), |cut| cut.longest()) > frame_max {
            return Err(Reason::TooBig);
        }
        let heading = Heading {
            origin: Arc::clone(port),
            network: Arc::clone(&segment.counters),
            vtep: Arc::clone(vtep),
            flow: packet::flow_hash(frame, parcel.packet.as_ref()),
            class: segment.settings.outer_class(frame),
            is_copy,
        };
        let Some(cut) = parcel.cut else {
            let wrapping = vxlan::build(segment.vni, None);
            let frame = &mut self.buffer[parcel.frame.clone()];
            if mss::may_be_syn(frame) {
                let packet = parcel.packet.as_ref();
                let mtu = segment.mtu_to(vtep, packet);
                mss::clamp(frame, packet, mtu, parcel.vnet.needs_checksum);
            }
            cut::complete_checksum(frame, &parcel.vnet).map_err(|_| Reason::FrameMalformed)?;
            let start = parcel.frame.start - vxlan::BYTES;
            self.buffer[start..parcel.frame.start].copy_from_slice(&wrapping);
            let datagram = start..parcel.frame.end;
            self.outbox.push(&heading, datagram, &self.buffer, context);
            return Ok(());
        };
        let remote = parcel.packet.as_ref().filter(|_| vtep.completes_checksums());
        let remote = remote.and_then(Remote::of);
        let wrapping = vxlan::build(segment.vni, remote);
        let longest = vxlan::BYTES + cut.longest();
        // All of it in one piece is one send; cut in two it would be one more.
        self.make_room(context, cut.count() * longest);
        for index in 0..cut.count() {
            self.make_room(context, longest);
            let (cuts, frames) = self.buffer.split_at_mut(CUTS);
            let frame = &frames[parcel.frame.start - CUTS..parcel.frame.end - CUTS];
            let (wrap, room) = cuts[self.cuts_used..].split_at_mut(vxlan::BYTES);
            wrap.copy_from_slice(&wrapping);
            let start = self.cuts_used;
            self.cuts_used += vxlan::BYTES + cut.write(frame, index, room, remote.is_some());
            let datagram = start..self.cuts_used;
            self.outbox.push(&heading, datagram, &self.buffer, context);
        }
        Ok(())
    }
}

// A frame behind its `virtio_net_hdr`, of which one of the two is no good.
fn tell_malformed(context: Context, port: &Port, reason: Reason, octets: &[u8]) {
    let frame = octets.get(vnet::BYTES..).unwrap_or_default();
    context.watch.note_from(port, End::Dropped(reason), 1, frame);
}

/// A frame in the buffer, looked at.
struct Parcel {
    read: Range<usize>, // with its `virtio_net_hdr`
    frame: Range<usize>,
    vnet: Header,
    packet: Option<Packet>,
    cut: Option<Cut>,
    amount: Amount,
}

/// Give a frame, gathered from pieces, to a link.
pub fn write(to: &Port, queue: usize, pieces: &[IoSlice]) -> Result<(), Reason> {
    let Some(queue) = to.queues.get(queue % to.queues.len().max(1)) else {
        return Err(Reason::LinkDown);
    };
    loop {
        return match queue.write(pieces) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Err(match error.raw_os_error() {
                Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Reason::LinkFull,
                Some(libc::EINVAL) => Reason::FrameMalformed,
                _ => Reason::LinkDown,
            }),
        };
    }
}
