//! Carrying out what the switch decided about the frames it was handed.

use std::sync::Arc;

use crate::counters::{Fate, Reason};
use crate::decide::Outward;
use crate::egress::{Context, Egress};
use crate::model::{Port, Segment};
use crate::packet::Packet;
use crate::punt::{Origin, Punt};
use crate::rewrite::{self, Edit};
use crate::vnet;
use crate::watch::{End, Entrance};
use crate::yard::{self, Source};

/// The switch's word (`vxnet.switch.actions.Action`).
#[derive(Debug)]
pub enum Decision {
    /// To one port of this host.
    Deliver(u32),
    /// To one other host, by its number.
    Send(u32),
    /// A copy to each of these ports and each of these hosts.
    Flood {
        /// Ports by id.
        ports: Vec<u32>,
        /// Hosts by number.
        vteps: Vec<u32>,
    },
    /// This frame goes back to the port that asked.
    Reply(Vec<u8>),
    /// Nowhere.
    Drop(Reason),
    /// It is this frame now, and goes on so.
    Replace(Vec<u8>, Box<Decision>),
    /// It says this now, and goes on so.
    Rewrite {
        /// What it says.
        edit: Edit,
        /// Whether it has ports: no fragment but the first has.
        has_ports: bool,
        /// What becomes of it.
        then: Box<Decision>,
    },
}

/// Do with a frame as decided. What is gone meanwhile is dropped and counted.
pub fn settle(context: Context, egress: &mut Egress, punt: &Punt, decision: Decision) {
    if let Decision::Replace(frame, then) = decision {
        let octets = [&punt.octets[..vnet::BYTES], &frame].concat().into_boxed_slice();
        return settle(context, egress, &punt.with(octets), *then);
    }
    if let Decision::Rewrite { edit, has_ports, then } = decision {
        let mut octets = punt.octets.clone();
        let frame = &mut octets[vnet::BYTES..];
        match Packet::locate(frame) {
            Ok(Some(packet)) if has_ports && packet.has_ports() => {
                rewrite::apply(&edit, frame, &packet, punt.is_partial());
            }
            Ok(Some(packet)) => {
                rewrite::apply_addresses(&edit, frame, &packet);
            }
            _ => {}
        }
        return settle(context, egress, &punt.with(octets), *then);
    }
    let model = context.view.model;
    match punt.origin {
        Origin::Port(id) => {
            let Some(port) = model.ports.get(&id) else { return };
            let Some(segment) = model.segments.get(&port.vni) else { return };
            from_link(context, egress, port, segment, punt, decision);
        }
        Origin::TooBig { port: id, .. } => {
            // It was counted when it was dropped, so what becomes of the answer is not.
            if let (Some(port), Decision::Reply(frame)) = (model.ports.get(&id), decision) {
                let _ = yard::deliver(context, port, &frame);
            }
        }
        Origin::Tunnel { vni, from, .. } => {
            let outcome = if model.segments.contains_key(&vni) {
                from_tunnel(context, punt.frame(), &decision)
            } else {
                Err(Reason::UnknownVni)
            };
            if let Some(books) = &punt.books {
                Source::of(books).settle(1, outcome);
            }
            let end = match (outcome, &decision) {
                (Err(reason), _) => End::Dropped(reason),
                (Ok(_), Decision::Deliver(id)) => End::Delivered(*id),
                (Ok(_), Decision::Flood { ports, .. }) => End::Flooded(ports.len() as u32, 0),
                (Ok(_), _) => End::Replied,
            };
            let frame = std::iter::once(punt.frame());
            context.watch.note(vni, Entrance::Tunnel(from), end, 1, frame);
        }
    }
}

fn from_link(
    context: Context,
    egress: &mut Egress,
    port: &Arc<Port>,
    segment: &Segment,
    punt: &Punt,
    decision: Decision,
) {
    let model = context.view.model;
    let outward = match decision {
        Decision::Deliver(id) => {
            model.ports.get(&id).map_or(Outward::Drop(Reason::PortUnknown), Outward::Deliver)
        }
        Decision::Send(number) => model
            .vteps
            .get(number as usize)
            .map_or(Outward::Drop(Reason::UnknownVtep), Outward::Send),
        Decision::Flood { ports, vteps } => {
            let ports: Vec<_> = ports.iter().filter_map(|id| model.ports.get(id)).collect();
            let vteps: Vec<_> =
                vteps.iter().filter_map(|number| model.vteps.get(*number as usize)).collect();
            return egress.flood(context, port, segment, &punt.octets, &ports, &vteps);
        }
        Decision::Drop(reason) => Outward::Drop(reason),
        Decision::Replace(..) | Decision::Rewrite { .. } => return, // `settle` has done it
        Decision::Reply(frame) => {
            let outcome = yard::deliver(context, port, &frame).map(|()| Fate::Replied);
            let end = outcome.map_or_else(End::Dropped, |_| End::Replied);
            context.watch.note_from(port, end, 1, punt.frame());
            return port.counters.settle(1, outcome);
        }
    };
    egress.carry_out(context, port, segment, &punt.octets, outward);
}

fn from_tunnel(context: Context, frame: &[u8], decision: &Decision) -> Result<Fate, Reason> {
    let port = |id| context.view.model.ports.get(id).ok_or(Reason::PortUnknown);
    match decision {
        Decision::Deliver(id) => yard::deliver(context, port(id)?, frame).map(|()| Fate::Delivered),
        Decision::Flood { ports, .. } => {
            for id in ports {
                let outcome = port(id).and_then(|port| yard::deliver(context, port, frame));
                context.io.copies_lost.add(usize::from(outcome.is_err()));
            }
            Ok(Fate::Flooded)
        }
        Decision::Drop(reason) => Err(*reason),
        // RFC 7348 §4: never from tunnel to tunnel.
        _ => Err(Reason::SplitHorizon),
    }
}
