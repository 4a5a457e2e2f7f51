//! What becomes of a frame, as far as the table says: the fast half of `vxnet/switch/forward.py`.
//!
//! Whatever needs more than a look into the table (a station that is not known behind its port, ARP
//! and neighbour discovery, frames for many or for nobody known, flows of services that begin or end)
//! is handed up to the switch, which decides by the same rules and more.

use std::sync::Arc;

use crate::counters::Reason;
use crate::flows::{Carried, Flows, Found};
use crate::model::{Model, Peer, Port, Segment, Vtep};
use crate::mss;
use crate::packet::{self, Mac, Packet, ethertype, protocol};
use crate::table::{Entry, Table, Target};

/// What to do with a frame that a local port sent.
pub enum Outward<'a> {
    /// Give it to another port.
    Deliver(&'a Arc<Port>),
    /// Send it to another host.
    Send(&'a Arc<Vtep>),
    /// Nowhere.
    Drop(Reason),
    /// Let the switch say.
    Punt,
}

/// What to do with a frame that came out of a tunnel: never send it into another.
#[derive(Clone, Copy)]
pub enum Inward<'a> {
    /// Give it to a port.
    Deliver(&'a Arc<Port>),
    /// Nowhere.
    Drop(Reason),
    /// Let the switch say.
    Punt,
}

/// What the decisions rest on.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Where stations are.
    pub table: &'a Table,
    /// What becomes of packets to services, and from them.
    pub flows: &'a Flows,
    /// What else there is.
    pub model: &'a Model,
    /// The time, to note who was seen.
    pub now: u16,
}

const NEXT_HEADER: usize = packet::ETHERNET + 6;
const ICMPV6_TYPE: usize = packet::ETHERNET + packet::IPV6;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

fn is_group(mac: Mac) -> bool {
    mac[0] & 1 != 0
}

fn is_nobody(mac: Mac) -> bool {
    is_group(mac) || mac == [0; 6]
}

impl<'a> View<'a> {
    fn see(self, vni: u32, mac: Mac, known: Entry) {
        if known.ages && known.seen != self.now {
            self.table.touch(vni, mac, self.now);
        }
    }

    /// For a frame that begins at its Ethernet header; super-frames are looked at as they are. Where
    /// it belongs to a flow of a service, it is to be changed before it goes there.
    pub fn from_link(
        self,
        port: &Port,
        segment: &Segment,
        frame: &[u8],
        packet: Option<&Packet>,
    ) -> (Outward<'a>, Option<Carried>) {
        let Some((destination, source, kind)) = packet::addresses(frame) else {
            return (Outward::Drop(Reason::FrameShort), None);
        };
        if let Some(refusal) = self.admit_local(port, segment, frame, source, kind) {
            return (refusal, None);
        }
        if segment.is_server(source) {
            match self.served(segment, source, frame, packet) {
                Found::Nothing => {}
                Found::Held => return (Outward::Punt, None),
                Found::Carried(carried) => return self.carry(port.vni, carried),
            }
        }
        if segment.is_server(destination)
            && mss::may_be_syn(frame)
            && self.flows.is_confused(port.vni, frame, packet)
        {
            return (Outward::Punt, None);
        }
        let decision = match self.table.get(port.vni, destination).map(|entry| entry.target) {
            Some(Target::Port(id)) if id == port.id => Outward::Drop(Reason::SamePort),
            // A target that is gone from the model is about to go from the table.
            Some(target) => self.way(target).unwrap_or(Outward::Punt),
            None if segment.services.contains(&destination) => {
                match self.flows.there(port.vni, frame, packet, self.now) {
                    Found::Carried(carried) => return self.carry(port.vni, carried),
                    _ => Outward::Punt,
                }
            }
            None if is_group(destination) || segment.settings.flood_unknown => Outward::Punt,
            None => Outward::Drop(Reason::UnknownUnicast),
        };
        (decision, None)
    }

    // What a station sends that answers for services, or speaks for clients outside.
    fn served(
        self,
        segment: &Segment,
        source: Mac,
        frame: &[u8],
        packet: Option<&Packet>,
    ) -> Found {
        if segment.relays.contains(&source) {
            // A member's own host notes where its answers go.
            let is_here = packet::addresses(frame).is_some_and(|(to, ..)| {
                let entry = self.table.get(segment.vni, to);
                matches!(entry.map(|entry| entry.target), Some(Target::Port(_)))
            });
            if !is_here {
                return Found::Nothing;
            }
            return self.flows.there(segment.vni, frame, packet, self.now);
        }
        match self.flows.back(segment.vni, frame, packet, self.now) {
            Found::Nothing if segment.suspects.contains(&source) => Found::Held,
            found => found,
        }
    }

    fn way(self, target: Target) -> Option<Outward<'a>> {
        match target {
            Target::Port(id) => self.model.ports.get(&id).map(Outward::Deliver),
            Target::Vtep(number) => self.model.vteps.get(number as usize).map(Outward::Send),
        }
    }

    fn carry(self, vni: u32, carried: Carried) -> (Outward<'a>, Option<Carried>) {
        let target = self.table.get(vni, carried.edit.destination_mac);
        match target.and_then(|entry| self.way(entry.target)) {
            Some(way) => (way, Some(carried)),
            None => (Outward::Punt, None),
        }
    }

    // What is said of a frame before anybody looks where it goes.
    fn admit_local(
        self,
        port: &Port,
        segment: &Segment,
        frame: &[u8],
        source: Mac,
        kind: u16,
    ) -> Option<Outward<'a>> {
        match self.table.get(port.vni, source) {
            _ if port.is_blocked() => return Some(Outward::Punt),
            Some(known) if known.target == Target::Port(port.id) => {
                self.see(port.vni, source, known);
            }
            _ => {
                return Some(match port.mac {
                    Some(assigned) if assigned != source => Outward::Drop(Reason::PortSecurity),
                    None if is_nobody(source) => Outward::Drop(Reason::SourceMacInvalid),
                    _ => Outward::Punt,
                });
            }
        }
        if kind != ethertype::IPV4 {
            if packet::is_vlan(kind) && !segment.settings.vlan_transparent {
                return Some(Outward::Drop(Reason::VlanTagged));
            }
            if may_be_neighbours(frame, kind) {
                return Some(Outward::Punt);
            }
        }
        None
    }

    /// For a frame of network `segment` from `peer`, one of those it has; and whether `homeward` is
    /// to be asked first, about this frame and each that follows from the same station.
    pub fn from_underlay(self, segment: &Segment, peer: &Peer, frame: &[u8]) -> (Inward<'a>, bool) {
        let Some((destination, source, kind)) = packet::addresses(frame) else {
            return (Inward::Drop(Reason::FrameShort), false);
        };
        if let Some(refusal) = self.admit_remote(segment, peer, frame, source, kind) {
            return (refusal, false);
        }
        let decision = match self.table.get(segment.vni, destination).map(|entry| entry.target) {
            Some(Target::Port(id)) => {
                self.model.ports.get(&id).map_or(Inward::Punt, Inward::Deliver)
            }
            Some(Target::Vtep(_)) => Inward::Drop(Reason::SplitHorizon),
            None if is_group(destination) || segment.settings.flood_unknown => Inward::Punt,
            None => Inward::Drop(Reason::UnknownUnicast),
        };
        (decision, segment.is_server(source))
    }

    /// Where a frame goes that belongs to a flow of a service, and how it is to be changed before;
    /// `None` where it belongs to none, or where its client is not here.
    pub fn homeward(
        self,
        segment: &Segment,
        frame: &[u8],
    ) -> Option<(Inward<'a>, Option<Carried>)> {
        let (_, source, _) = packet::addresses(frame)?;
        let packet = Packet::locate(frame).unwrap_or(None);
        match self.served(segment, source, frame, packet.as_ref()) {
            Found::Nothing => None,
            Found::Held => Some((Inward::Punt, None)),
            Found::Carried(carried) => match self.carry(segment.vni, carried) {
                (Outward::Deliver(port), carried) => Some((Inward::Deliver(port), carried)),
                _ => Some((Inward::Punt, None)),
            },
        }
    }

    // What is said of a frame before anybody looks where it goes.
    fn admit_remote(
        self,
        segment: &Segment,
        peer: &Peer,
        frame: &[u8],
        source: Mac,
        kind: u16,
    ) -> Option<Inward<'a>> {
        let learns = peer.learning && segment.settings.learning;
        match self.table.get(segment.vni, source) {
            Some(known) if known.target == Target::Vtep(peer.vtep.number) => {
                self.see(segment.vni, source, known);
            }
            _ if is_nobody(source) => return Some(Inward::Drop(Reason::SourceMacInvalid)),
            None if learns => return Some(Inward::Punt),
            Some(known) if known.ages && learns => return Some(Inward::Punt),
            Some(known) if matches!(known.target, Target::Port(_)) => {
                return Some(Inward::Drop(Reason::SourceMacInvalid));
            }
            _ => {}
        }
        if kind != ethertype::IPV4 {
            if packet::is_vlan(kind) && !segment.settings.vlan_transparent {
                return Some(Inward::Drop(Reason::VlanTagged));
            }
            if peer.learning && may_be_neighbours(frame, kind) {
                return Some(Inward::Punt);
            }
        }
        None
    }
}

/// Who may send into a network, its peers alone, and what of a VXLAN header is refused.
pub fn admit<'a>(
    segment: &Segment,
    peer: Option<&'a Peer>,
    reserved: bool,
) -> Result<&'a Peer, Reason> {
    let peer = peer.ok_or(Reason::UnknownVtep)?;
    if reserved && segment.settings.strict_reserved {
        return Err(Reason::VxlanReserved);
    }
    Ok(peer)
}

// Whether the switch would look into the frame: ARP, neighbour discovery, and what can not be read.
fn may_be_neighbours(frame: &[u8], kind: u16) -> bool {
    match kind {
        ethertype::ARP => true,
        ethertype::IPV6 => match (frame.get(NEXT_HEADER), frame.get(ICMPV6_TYPE)) {
            (Some(&protocol::TCP | &protocol::UDP), _) => false,
            (Some(&protocol::ICMPV6), Some(&kind)) => is_neighbour_message(kind),
            _ => hides_icmpv6(frame),
        },
        kind if packet::is_vlan(kind) => match packet::payload(frame) {
            Ok((ethertype::IPV6, _)) => hides_icmpv6(frame),
            Ok((kind, _)) => kind == ethertype::ARP,
            Err(_) => true,
        },
        _ => false,
    }
}

fn is_neighbour_message(kind: u8) -> bool {
    matches!(kind, NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT)
}

fn hides_icmpv6(frame: &[u8]) -> bool {
    match Packet::locate(frame) {
        Ok(Some(packet)) => packet.protocol == protocol::ICMPV6,
        Ok(None) => false,
        Err(_) => true,
    }
}
