//! Carrying out what the switch decided about the frames it was handed.

use std::sync::Arc;

use crate::counters::{Fate, Reason};
use crate::decide::Outward;
use crate::egress::{Context, Egress};
use crate::model::{Port, Segment};
use crate::punt::{Origin, Punt};
use crate::yard::{self, Source};

/// The switch's word (`vxnet.switch.actions.Action`).
#[derive(Debug)]
pub enum Decision {
    /// To one port of this host.
    Deliver(u32),
    /// To one other host, by its number.
    Send(u32),
    /// To everybody.
    Flood,
    /// This frame goes back to the port that asked.
    Reply(Vec<u8>),
    /// Nowhere.
    Drop(Reason),
}

/// Do with a frame as decided. What is gone meanwhile is dropped and counted.
pub fn settle(context: Context, egress: &mut Egress, punt: &Punt, decision: Decision) {
    let model = context.view.model;
    match punt.origin {
        Origin::Port(id) => {
            let Some(port) = model.ports.get(&id) else { return };
            let Some(segment) = model.segments.get(&port.vni) else { return };
            from_link(context, egress, port, segment, punt, decision);
        }
        Origin::Tunnel { vni, from, .. } => {
            let Some(segment) = model.segments.get(&vni) else { return };
            let vtep = segment.peer(&from).map(|peer| &peer.vtep);
            let source = Source { network: &segment.counters, vtep };
            source.settle(1, from_tunnel(context, segment, punt.frame(), &decision));
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
        Decision::Flood => Outward::Flood,
        Decision::Drop(reason) => Outward::Drop(reason),
        Decision::Reply(frame) => {
            let outcome = yard::deliver(context, port, &frame).map(|()| Fate::Replied);
            return port.counters.settle(1, outcome);
        }
    };
    egress.carry_out(context, port, segment, &punt.octets, outward);
}

fn from_tunnel(
    context: Context,
    segment: &Segment,
    frame: &[u8],
    decision: &Decision,
) -> Result<Fate, Reason> {
    match decision {
        Decision::Deliver(id) => {
            let port = context.view.model.ports.get(id).ok_or(Reason::PortUnknown)?;
            yard::deliver(context, port, frame).map(|()| Fate::Delivered)
        }
        Decision::Flood if segment.ports.is_empty() => Err(Reason::NoReceiver),
        Decision::Flood => {
            for port in &segment.ports {
                // Each link counts what it could not take as such; the frame itself was flooded.
                let _ = yard::deliver(context, port, frame);
            }
            Ok(Fate::Flooded)
        }
        Decision::Drop(reason) => Err(*reason),
        // RFC 7348 §4: never from tunnel to tunnel.
        Decision::Send(_) | Decision::Reply(_) => Err(Reason::SplitHorizon),
    }
}
