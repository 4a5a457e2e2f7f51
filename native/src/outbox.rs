//! Datagrams on their way to the underlay: those of one flow leave together as one burst.

use std::io::{self, ErrorKind, IoSlice};
use std::ops::Range;
use std::sync::Arc;

use crate::counters::{Amount, Counters, Fate, Io, Reason};
use crate::egress::Context;
use crate::io::udp::{SEGMENTS_MAX, SEND_MAX, Socket};
use crate::model::{Port, Vtep};
use crate::vxlan;
use crate::watch::{End, Entrance};

/// The sockets that outer packets leave from, each with a source port of its own.
pub struct Senders {
    sockets: Vec<Socket>,
}

impl Senders {
    /// At least one socket.
    pub fn new(sockets: Vec<Socket>) -> Self {
        Self { sockets }
    }

    fn of(&self, flow: u32) -> &Socket {
        &self.sockets[flow as usize % self.sockets.len()]
    }
}

/// What the datagrams of one burst have in common.
#[derive(Clone)]
pub struct Heading {
    /// The port their frames came from, which counts what becomes of them.
    pub origin: Arc<Port>,
    /// The counters of the network they are in.
    pub network: Arc<Counters>,
    /// Where they go.
    pub vtep: Arc<Vtep>,
    /// Chooses the source port (RFC 7348 §5).
    pub flow: u32,
    /// The outer traffic class.
    pub class: u8,
    /// One of several copies, counted once by whoever makes them.
    pub is_copy: bool,
}

impl Heading {
    // The class is left out: a mark amid a flow ends a burst, but changes no order.
    fn is_same_way(&self, other: &Self) -> bool {
        self.flow == other.flow
            && self.is_copy == other.is_copy
            && Arc::ptr_eq(&self.vtep, &other.vtep)
            && Arc::ptr_eq(&self.origin, &other.origin)
    }
}

/// A burst in the making. It holds where the datagrams lie in a buffer, not their octets.
struct Lot {
    heading: Heading,
    pieces: Vec<Range<usize>>, // of whole datagrams, neighbours as one
    stride: usize,
    octets: usize,
    amount: Amount,
    is_closed: bool,
}

impl Lot {
    fn new(heading: Heading) -> Self {
        Self {
            heading,
            pieces: Vec::with_capacity(SEGMENTS_MAX),
            stride: 0,
            octets: 0,
            amount: Amount::default(),
            is_closed: false,
        }
    }

    fn clear(&mut self) {
        self.pieces.clear();
        self.octets = 0;
        self.amount = Amount::default();
        self.is_closed = false;
    }

    fn takes(&self, octets: usize, class: u8) -> bool {
        self.pieces.is_empty()
            || !self.is_closed
                && self.heading.class == class
                && self.amount.frames < SEGMENTS_MAX
                && octets <= self.stride
                && self.octets + octets <= SEND_MAX
                && self.heading.vtep.takes_bursts()
    }

    fn push(&mut self, datagram: Range<usize>) {
        let octets = datagram.len();
        if self.pieces.is_empty() {
            self.stride = octets;
        }
        // All of a burst are equal in size, but the last may be shorter.
        self.is_closed = octets < self.stride;
        self.octets += octets;
        self.amount += Amount { frames: 1, octets: octets - vxlan::BYTES };
        match self.pieces.last_mut() {
            Some(last) if last.end == datagram.start => last.end = datagram.end,
            _ => self.pieces.push(datagram),
        }
    }

    fn send(&mut self, buffer: &[u8], context: Context) {
        let io = context.io;
        let socket = context.senders.of(self.heading.flow);
        let mut slices = [IoSlice::new(&[]); SEGMENTS_MAX];
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(&buffer[piece.clone()]);
        }
        let slices = &slices[..self.pieces.len()];
        let stride = if self.amount.frames > 1 { self.stride as u16 } else { 0 };
        io.sends.add(1);
        let began_ns = context.watch.clock_ns();
        match transmit(socket, slices, &self.heading, stride) {
            Err(error) if stride != 0 && is_burst_refusal(&error) => {
                io.gso_fallbacks.add(1);
                self.send_plainly(socket, slices, context, began_ns);
            }
            outcome => {
                let outcome = outcome.map_err(|error| reason(&error, io));
                self.settle(io, self.amount, outcome);
                for slice in slices {
                    self.tell(context, slice, outcome, began_ns);
                }
            }
        }
        self.clear();
    }

    // The same datagrams, one by one.
    fn send_plainly(&self, socket: &Socket, slices: &[IoSlice], context: Context, began_ns: u64) {
        let io = context.io;
        for datagram in slices.iter().flat_map(|slice| slice.chunks(self.stride)) {
            let amount = Amount { frames: 1, octets: datagram.len() - vxlan::BYTES };
            let outcome = transmit(socket, &[IoSlice::new(datagram)], &self.heading, 0)
                .map_err(|error| reason(&error, io));
            if outcome.is_ok() {
                // What went plainly shows that it was not the datagrams.
                self.heading.vtep.set_takes_bursts(false);
            }
            self.settle(io, amount, outcome);
            self.tell(context, datagram, outcome, began_ns);
        }
    }

    // Datagrams of this burst, one behind the other, left or did not. They were sent at `began_ns`:
    // before another host, which may watch too, has them.
    fn tell(&self, context: Context, datagrams: &[u8], outcome: Result<(), Reason>, began_ns: u64) {
        if !context.watch.is_on() || self.heading.is_copy {
            return;
        }
        let end = outcome.map_or_else(End::Dropped, |()| End::Sent(self.heading.vtep.number));
        for datagram in datagrams.chunks(self.stride) {
            let (port, frame) = (&self.heading.origin, &datagram[vxlan::BYTES..]);
            let entrance = Entrance::Port(port.id);
            let pieces = std::iter::once(frame);
            context.watch.note_at(began_ns, port.vni, entrance, end, 1, pieces);
        }
    }

    fn settle(&self, io: &Io, amount: Amount, outcome: Result<(), Reason>) {
        let heading = &self.heading;
        if outcome.is_ok() {
            heading.vtep.counters.leave(amount);
            heading.network.leave(amount);
        }
        if !heading.is_copy {
            heading.origin.counters.settle(amount.frames, outcome.map(|()| Fate::Sent));
        } else if outcome.is_err() {
            io.copies_lost.add(amount.frames);
        }
    }
}

fn transmit(socket: &Socket, pieces: &[IoSlice], heading: &Heading, stride: u16) -> io::Result<()> {
    let Heading { vtep, class, .. } = heading;
    match socket.send(pieces, &vtep.name, *class, stride) {
        // What an earlier datagram met (an ICMP error) is told by the next send, which did nothing.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            socket.send(pieces, &vtep.name, *class, stride).map(drop)
        }
        outcome => outcome.map(drop),
    }
}

fn is_burst_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE))
}

fn reason(error: &io::Error, io: &Io) -> Reason {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Reason::UnderlayFull,
        Some(libc::EMSGSIZE) => Reason::TooBig,
        _ => {
            io.send_errors.add(1);
            Reason::UnderlayError
        }
    }
}

/// How many flows' bursts are made at the same time.
const LOTS_MAX: usize = 16;

/// Bursts in the making, of datagrams that lie in one buffer of the caller's.
#[derive(Default)]
pub struct Outbox {
    lots: Vec<Lot>,
    used: usize, // the others are kept for the room they have
    /// Bursts that left since somebody set this to 0.
    pub sends: usize,
}

impl Outbox {
    /// Add a datagram, which lies in `buffer`; what it can not go with leaves before.
    pub fn push(
        &mut self,
        heading: &Heading,
        datagram: Range<usize>,
        buffer: &[u8],
        context: Context,
    ) {
        let at = self.lot(heading, buffer, context);
        let lot = &mut self.lots[at];
        if !lot.takes(datagram.len(), heading.class) {
            lot.send(buffer, context);
            self.sends += 1;
        }
        lot.heading.class = heading.class;
        lot.push(datagram);
    }

    fn lot(&mut self, heading: &Heading, buffer: &[u8], context: Context) -> usize {
        if let Some(at) =
            self.lots[..self.used].iter().position(|lot| lot.heading.is_same_way(heading))
        {
            return at;
        }
        if self.used == LOTS_MAX {
            self.flush(buffer, context);
        }
        let at = self.used;
        self.used += 1;
        match self.lots.get_mut(at) {
            Some(lot) => lot.heading = heading.clone(),
            None => self.lots.push(Lot::new(heading.clone())),
        }
        at
    }

    /// Send everything.
    pub fn flush(&mut self, buffer: &[u8], context: Context) {
        for lot in &mut self.lots[..self.used] {
            if !lot.pieces.is_empty() {
                lot.send(buffer, context);
                self.sends += 1;
            }
        }
        self.used = 0;
    }

    /// Let go of ports and VTEPs that are kept for no datagram.
    pub fn forget(&mut self) {
        debug_assert_eq!(self.used, 0);
        self.lots.clear();
    }
}
