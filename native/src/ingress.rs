//! Bursts from the underlay: unwrapped, told where to go, and handed to the yard.

use std::io;
use std::mem;
use std::ops::Range;

use crate::counters::{Amount, Counters, Reason};
use crate::decide::{self, Inward};
use crate::egress::Context;
use crate::io::udp::{BURSTS_MAX, Burst, Inbox, Socket};
use crate::model::Segment;
use crate::mss;
use crate::offload::cut;
use crate::packet::{self, Packet};
use crate::punt::Origin;
use crate::strangers::Strangers;
use crate::vnet;
use crate::vxlan::{self, Fault, Remote};
use crate::watch::{End, Entrance};
use crate::yard::{Source, Yard};

/// Bursts are long from so many octets on,
const LONG: usize = 16 * 1024;
/// and of long ones few are taken at a time, so that they lie in the core's own cache when they are
/// given to their links.
const LONG_BURSTS_MAX: usize = 4;

/// What makes two datagrams of a burst go the same way: VXLAN and Ethernet header.
const GLANCE: usize = vxlan::BYTES + packet::ETHERNET;

/// One thread's room for what arrives.
#[derive(Default)]
pub struct Ingress {
    inbox: Inbox,
    yard: Yard,
    octets: usize,
    are_long: bool, // the bursts of the last receive
}

impl Ingress {
    /// Take what waits at a socket. Says whether there may be more.
    pub fn drain(
        &mut self,
        context: Context,
        socket: &Socket,
        stray: &Counters,
    ) -> io::Result<bool> {
        let most = if self.are_long { LONG_BURSTS_MAX } else { BURSTS_MAX };
        if let Err(error) = socket.receive(&mut self.inbox, most) {
            return match error.raw_os_error() {
                Some(libc::EAGAIN | libc::EINTR) => Ok(false),
                // An ICMP error that an earlier send met: told once, and then over.
                _ => {
                    context.io.receive_errors.add(1);
                    Ok(false)
                }
            };
        }
        let count = self.inbox.bursts.len();
        context.io.bursts.add(count);
        let octets: usize = self.inbox.bursts.iter().map(|burst| burst.octets.len()).sum();
        self.octets += octets;
        self.are_long = octets > count * LONG;
        for index in 0..count {
            let mut burst = self.inbox.bursts[index].clone();
            if burst.is_truncated {
                context.io.truncated.add(1);
                stray.settle(1, Err(Reason::VxlanShort));
                burst.cut_short();
                if burst.octets.is_empty() {
                    continue;
                }
            }
            self.unwrap(context, &burst, stray);
        }
        self.yard.flush(context, &mut self.inbox.octets);
        Ok(count == most)
    }

    /// Octets received since the last time.
    pub fn take_octets(&mut self) -> usize {
        mem::take(&mut self.octets)
    }

    /// Let go of ports and VTEPs.
    pub fn forget(&mut self) {
        self.yard.forget();
    }

    fn unwrap(&mut self, context: Context, burst: &Burst, stray: &Counters) {
        let mut route: Option<Route> = None;
        let mut at = burst.octets.start;
        loop {
            let datagram = at..(at + burst.stride).min(burst.octets.end);
            at = datagram.end;
            let octets = &self.inbox.octets[datagram.clone()];
            // Most of a burst is of one flow, so what was found for one datagram holds for the next.
            let glance = octets.first_chunk::<GLANCE>();
            if route.as_ref().is_none_or(|route| glance != Some(&route.glance)) {
                route = Route::find(context, octets, burst)
                    .inspect_err(|reason| {
                        stray.settle(1, Err(*reason));
                        tell_stray(context, octets, burst, *reason);
                    })
                    .ok();
            }
            if let Some(route) = &mut route {
                self.pass(context, route, datagram.start + vxlan::BYTES..datagram.end, burst.class);
            }
            // An empty datagram is one all the same.
            if at == burst.octets.end {
                break;
            }
        }
    }

    fn pass(&mut self, context: Context, route: &mut Route, frame: Range<usize>, class: u8) {
        let octets = &mut self.inbox.octets;
        route.received += Amount::of(&octets[frame.clone()]);
        if class & 3 != 0 && vxlan::decapsulate_ecn(&mut octets[frame.clone()], class).is_err() {
            return route.refuse(context, Reason::EcnCongested, &octets[frame]);
        }
        if route.remote.is_some_and(|remote| remote.at + 2 > frame.len()) {
            return route.refuse(context, Reason::FrameMalformed, &octets[frame]);
        }
        if mss::may_be_syn(&octets[frame.clone()]) {
            route.clamp(&mut octets[frame.clone()]);
        }
        if route.is_server && self.yard.follow(octets, &route.source, frame.clone(), route.remote) {
            return;
        }
        let segment = route.segment;
        let served =
            route.is_server.then(|| context.view.homeward(segment, &octets[frame.clone()]));
        let (decision, carried) = served.flatten().unwrap_or((route.decision, None));
        match decision {
            Inward::Deliver(port) => {
                self.yard.add(context, octets, &route.source, port, frame, route.remote, carried);
            }
            Inward::Drop(reason) => route.refuse(context, reason, &octets[frame]),
            Inward::Punt => {
                if let Some(remote) = route.remote {
                    let _ = cut::complete_checksum(&mut octets[frame.clone()], &remote.vnet());
                }
                // Before the switch can say what became of it.
                route.source.receive(std::mem::take(&mut route.received));
                let books = Some(route.source.books());
                let punted = &octets[frame.clone()];
                if context.punts.push(route.origin, books, &vnet::PLAIN, punted) {
                    context.io.punts.add(1);
                } else {
                    context.io.punt_overflow.add(1);
                    route.refuse(context, Reason::RateLimited, &octets[frame]);
                }
            }
        }
    }
}

// What belongs to no network here, as far as it is there at all.
fn tell_stray(context: Context, datagram: &[u8], burst: &Burst, reason: Reason) {
    let vni = vxlan::parse(datagram).map_or(0, |header| header.vni);
    let frame = datagram.get(vxlan::BYTES..).unwrap_or_default();
    let (entrance, end) = (Entrance::Tunnel(burst.from), End::Dropped(reason));
    context.watch.note(vni, entrance, end, 1, std::iter::once(frame));
}

/// What was found out about one datagram, and holds for all of its burst with the same headers.
struct Route<'a> {
    glance: [u8; GLANCE],
    origin: Origin,
    source: Source<'a>,
    segment: &'a Segment,
    strangers: Option<&'a Strangers>,
    remote: Option<Remote>,
    received: Amount,
    decision: Inward<'a>,
    is_server: bool,
}

impl<'a> Route<'a> {
    // Fails for what belongs to no network here.
    fn find(context: Context<'a>, datagram: &[u8], burst: &Burst) -> Result<Self, Reason> {
        let header = vxlan::parse(datagram).map_err(|fault| match fault {
            Fault::Short => Reason::VxlanShort,
            Fault::NoVniFlag => Reason::VxlanNoVniFlag,
        })?;
        let vni = header.vni;
        let segment = context.view.model.segments.get(&vni).ok_or(Reason::UnknownVni)?;
        let glance = *datagram.first_chunk().ok_or(Reason::VxlanShort)?;
        // A member leaves out only what it was offered to. Whether it is known here to do so must not
        // matter: it may know of the offer before this host knows of it. To foreign VTEPs these bits
        // are reserved, and ignored as such.
        let peer = segment.peers.get(&burst.from);
        let remote = header.remote.filter(|_| peer.is_some_and(|peer| !peer.learning));
        let reserved = header.reserved || header.remote.is_some() && remote.is_none();
        let origin = Origin::Tunnel { vni, from: burst.from, reserved };
        let vtep = context.view.model.peers.get(&burst.from);
        let source = Source { network: &segment.counters, vtep };
        let frame = &datagram[vxlan::BYTES..];
        let admitted = decide::admit(segment, peer, reserved);
        let is_stranger = matches!(admitted, Err(Reason::UnknownVtep));
        let (decision, is_server) = match admitted {
            Ok(peer) => context.view.from_underlay(segment, peer, frame),
            Err(_) if is_stranger && segment.settings.meets_strangers => (Inward::Punt, false),
            Err(reason) => (Inward::Drop(reason), false),
        };
        let strangers = is_stranger.then_some(context.strangers);
        let received = Amount::default();
        Ok(Self {
            glance,
            origin,
            source,
            segment,
            strangers,
            remote,
            received,
            decision,
            is_server,
        })
    }

    // RFC 9293 §3.7.1: what answers a SYN has to fit the way back.
    fn clamp(&self, frame: &mut [u8]) {
        let packet = Packet::locate(frame).unwrap_or(None);
        if let Some(vtep) = self.source.vtep {
            let mtu = self.segment.mtu_to(vtep, packet.as_ref());
            mss::clamp(frame, packet.as_ref(), mtu, self.remote.is_some());
        }
    }

    fn refuse(&self, context: Context, reason: Reason, frame: &[u8]) {
        self.source.settle(1, Err(reason));
        if let Origin::Tunnel { vni, from, .. } = self.origin {
            let (entrance, end) = (Entrance::Tunnel(from), End::Dropped(reason));
            context.watch.note(vni, entrance, end, 1, std::iter::once(frame));
        }
    }
}

impl Drop for Route<'_> {
    // Counting costs more than looking, so a burst is counted at once.
    fn drop(&mut self) {
        self.source.receive(self.received);
        if let (Some(strangers), Origin::Tunnel { from, .. }) = (self.strangers, self.origin) {
            strangers.add(from, self.received.frames);
        }
    }
}
