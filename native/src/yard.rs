//! Where frames for the links of this host wait for those that follow, to be given as one.

use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::sync::Arc;

use crate::counters::{Amount, Counters, Fate, Reason};
use crate::egress::{Context, write};
use crate::flows::Carried;
use crate::model::{Port, Vtep};
use crate::offload::cut::{self, Cut};
use crate::offload::join::Train;
use crate::packet::{self, Packet};
use crate::rewrite;
use crate::vnet::{self, Header};
use crate::vxlan::Remote;
use crate::watch::{End, Entrance};

/// How many flows are joined at the same time.
const LANES_MAX: usize = 8;

/// The most pieces of one write: a `virtio_net_hdr`, a frame, and the payloads of those behind it.
const PIECES_MAX: usize = 2 + crate::offload::join::SEGMENTS_MAX;

/// The other end of a tunnel that belongs to no peer any more.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// A source for frames that wait. Networks and peers may be gone, or others of the same name be
/// there, when it is known what becomes of them.
#[derive(Clone)]
pub struct Books {
    network: Arc<Counters>,
    vtep: Option<Arc<Vtep>>,
}

/// Whose counters a frame out of a tunnel belongs to.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The network's.
    pub network: &'a Arc<Counters>,
    /// The peer's, where it is one.
    pub vtep: Option<&'a Arc<Vtep>>,
}

impl<'a> Source<'a> {
    /// The same for a frame that waits.
    pub fn books(&self) -> Books {
        Books { network: Arc::clone(self.network), vtep: self.vtep.cloned() }
    }

    fn is_of(&self, books: &Books) -> bool {
        Arc::ptr_eq(&books.network, self.network)
            && books.vtep.as_ref().map(Arc::as_ptr) == self.vtep.map(Arc::as_ptr)
    }

    /// Whose counters they were.
    pub fn of(books: &'a Books) -> Self {
        Self { network: &books.network, vtep: books.vtep.as_ref() }
    }

    /// Frames entered.
    pub fn receive(&self, amount: Amount) {
        self.network.receive(amount);
        if let Some(vtep) = self.vtep {
            vtep.counters.receive(amount);
        }
    }

    /// Frames found their way, or none.
    pub fn settle(&self, frames: usize, outcome: Result<Fate, Reason>) {
        self.network.settle(frames, outcome);
        if let Some(vtep) = self.vtep {
            vtep.counters.settle(frames, outcome);
        }
    }

    // A frame in pieces was given to a port, or could not be.
    fn tell<'b>(
        &self,
        context: Context,
        port: &Port,
        outcome: Result<(), Reason>,
        frames: usize,
        pieces: impl Iterator<Item = &'b [u8]> + Clone,
    ) {
        if context.watch.is_on() {
            let from = self.vtep.map_or(NOBODY, |vtep| vtep.address.ip());
            let end = outcome.map_or_else(End::Dropped, |()| End::Delivered(port.id));
            context.watch.note(port.vni, Entrance::Tunnel(from), end, frames, pieces);
        }
    }
}

/// One flow's super-frame in the making.
struct Lane {
    port: Arc<Port>,
    books: Books,
    flow: u32,
    remote: Option<Remote>,
    carried: Option<Carried>,
    packet: Option<Packet>, // of the first frame
    train: Train,
}

impl Lane {
    fn is_for(
        &self,
        source: &Source,
        port: &Arc<Port>,
        remote: Option<Remote>,
        carried: Option<&Carried>,
    ) -> bool {
        self.remote == remote
            && self.carried.as_ref() == carried
            && Arc::ptr_eq(&self.port, port)
            && source.is_of(&self.books)
    }

    fn dispatch(&mut self, context: Context, buffer: &mut [u8]) {
        let source = Source::of(&self.books);
        let amount = self.train.amount();
        let header = self.train.finish(buffer);
        if let Some(carried) = self.carried {
            let frame = &mut buffer[self.train.head()];
            if let Some(packet) = &self.packet {
                context.view.flows.note_end(carried.number, frame, packet); // the last one's
                let is_partial = header[0] & vnet::NEEDS_CHECKSUM != 0;
                rewrite::apply(&carried.edit, frame, packet, is_partial);
            }
            context.view.flows.note(carried.number, amount, context.view.now);
        }
        let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
        pieces[0] = IoSlice::new(&header);
        pieces[1] = IoSlice::new(&buffer[self.train.head()]);
        for (piece, payload) in pieces[2..].iter_mut().zip(self.train.rest()) {
            *piece = IoSlice::new(&buffer[payload.clone()]);
        }
        let pieces = &pieces[..1 + amount.frames];
        match write(&self.port, context.queue, pieces) {
            Err(Reason::FrameMalformed) if amount.frames > 1 => {
                context.io.link_fallbacks.add(1);
                self.port.refuse_uso();
                give_apart(context, &source, &self.port, &header, &pieces[1..]);
            }
            outcome => {
                if outcome.is_ok() {
                    self.port.counters.leave(amount);
                }
                source.settle(amount.frames, outcome.map(|()| Fate::Delivered));
                let frame = pieces[1..].iter().map(|piece| &**piece);
                source.tell(context, &self.port, outcome, amount.frames, frame);
            }
        }
    }
}

// A link did not take a super-frame: it gets the frames it stands for, one by one.
fn give_apart(
    context: Context,
    source: &Source,
    port: &Port,
    header: &[u8; vnet::BYTES],
    pieces: &[IoSlice],
) {
    let whole: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
    let packet = Packet::locate(&whole).unwrap_or(None);
    let plan = Header::parse(header).and_then(|vnet| Cut::plan(&whole, packet.as_ref(), &vnet));
    let Ok(cut) = plan else { return source.settle(pieces.len(), Err(Reason::FrameMalformed)) };
    let mut frame = vec![0; cut.longest()];
    for index in 0..cut.count() {
        let length = cut.write(&whole, index, &mut frame, false);
        let outcome = deliver(context, port, &frame[..length]);
        source.settle(1, outcome.map(|()| Fate::Delivered));
        source.tell(context, port, outcome, 1, std::iter::once(&frame[..length]));
    }
}

/// Give a plain frame to a port.
pub fn deliver(context: Context, port: &Port, frame: &[u8]) -> Result<(), Reason> {
    write(port, context.queue, &[IoSlice::new(&vnet::PLAIN), IoSlice::new(frame)])?;
    port.counters.leave(Amount::of(frame));
    Ok(())
}

/// Super-frames in the making, of frames that lie in one buffer of the caller's.
#[derive(Default)]
pub struct Yard {
    lanes: Vec<Lane>,
    used: usize, // the others are kept for the room they have
    last: usize,
}

impl Yard {
    /// Add a frame for `port`, which is long enough for what `remote` says of it, and which `carried`
    /// changes before it is given. Frames of one flow stay in their order.
    #[allow(clippy::too_many_arguments)] // all that is known of a frame
    pub fn add(
        &mut self,
        context: Context,
        buffer: &mut [u8],
        source: &Source,
        port: &Arc<Port>,
        frame: Range<usize>,
        remote: Option<Remote>,
        carried: Option<Carried>,
    ) {
        let used = self.used;
        let is_mine = |lane: &Lane| lane.is_for(source, port, remote, carried.as_ref());
        let last = self.lanes[..used].get_mut(self.last).filter(|lane| is_mine(lane));
        if last.is_some_and(|lane| lane.train.offer(buffer, frame.clone())) {
            return;
        }
        let octets = &buffer[frame.clone()];
        let packet = Packet::locate(octets).unwrap_or(None);
        let flow = packet::flow_hash(octets, packet.as_ref());
        // Whatever else it says is written here, and the frame is as any other.
        let own = remote.filter(|remote| packet.as_ref().and_then(Remote::of) == Some(*remote));
        if let (Some(remote), None) = (remote, own) {
            let _ = cut::complete_checksum(&mut buffer[frame.clone()], &remote.vnet());
        }
        let found = self.lanes[..used].iter().position(|lane| lane.flow == flow && is_mine(lane));
        if let Some(at) = found {
            let lane = &mut self.lanes[at];
            if at != self.last && lane.train.offer(buffer, frame.clone()) {
                self.last = at;
                return;
            }
            // It can not follow, so what came before it goes now.
            lane.dispatch(context, buffer);
            self.free(at);
        }
        if self.used == LANES_MAX {
            self.lanes[0].dispatch(context, buffer);
            self.free(0);
        }
        self.last = self.used;
        let lane = self.take(source, port, flow, remote);
        (lane.carried, lane.packet) = (carried, packet);
        if !lane.train.start(buffer, frame, packet.as_ref(), port.takes_uso(), own) {
            lane.dispatch(context, buffer);
            self.used -= 1;
        }
    }

    /// Add a frame if it continues the super-frame of a flow of a service that the last one was added
    /// to. What was found out about the first holds for it: looking that up for each costs more.
    pub fn follow(
        &mut self,
        buffer: &[u8],
        source: &Source,
        frame: Range<usize>,
        remote: Option<Remote>,
    ) -> bool {
        let lane = self.lanes[..self.used].get_mut(self.last);
        let lane = lane.filter(|lane| {
            lane.carried.is_some() && lane.remote == remote && source.is_of(&lane.books)
        });
        lane.is_some_and(|lane| lane.train.offer(buffer, frame))
    }

    fn take(
        &mut self,
        source: &Source,
        port: &Arc<Port>,
        flow: u32,
        remote: Option<Remote>,
    ) -> &mut Lane {
        let at = self.used;
        self.used += 1;
        if at == self.lanes.len() {
            self.lanes.push(Lane {
                port: Arc::clone(port),
                books: source.books(),
                flow,
                remote,
                carried: None,
                packet: None,
                train: Train::default(),
            });
        } else {
            let lane = &mut self.lanes[at];
            lane.flow = flow;
            lane.remote = remote;
            lane.carried = None;
            if !lane.is_for(source, port, remote, None) {
                lane.port = Arc::clone(port);
                lane.books = source.books();
            }
        }
        &mut self.lanes[at]
    }

    // The lane goes behind those in use; they keep their order.
    fn free(&mut self, at: usize) {
        self.lanes[at..self.used].rotate_left(1);
        self.used -= 1;
    }

    /// Give everything.
    pub fn flush(&mut self, context: Context, buffer: &mut [u8]) {
        for lane in &mut self.lanes[..self.used] {
            lane.dispatch(context, buffer);
        }
        self.used = 0;
    }

    /// Let go of ports and VTEPs that are kept for no frame.
    pub fn forget(&mut self) {
        debug_assert_eq!(self.used, 0);
        self.lanes.clear();
    }
}
