//! The fast datapath of vxnet: frames between the links of this host and VXLAN over UDP.
//!
//! It holds a copy of what the switch (`vxnet/switch`) concluded and owns no policy. A frame's way
//! out is `egress` → `decide` → `offload::cut` → `outbox`; its way in is `ingress` → `decide` →
//! `yard` → `offload::join`; what can not be decided here goes up through `punt`, and
//! what somebody captures through `watch`. Packets of services' flows are found in `flows` and
//! changed by `rewrite` on both ways.

#[cfg(feature = "python")]
mod bindings;
pub mod checksum;
pub mod counters;
pub mod decide;
pub mod egress;
pub mod flow;
pub mod flows;
pub mod ingress;
pub mod io;
pub mod model;
pub mod mss;
pub mod offload;
pub mod outbox;
pub mod packet;
pub mod place;
pub mod punt;
pub mod rewrite;
pub mod room;
pub mod seat;
pub mod settle;
pub mod strangers;
pub mod table;
pub mod vigil;
pub mod vnet;
pub mod vxlan;
pub mod watch;
pub mod words;
pub mod workers;
pub mod yard;
