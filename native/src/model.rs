//! What the switch concluded, as workers read it: networks, ports, peers. A snapshot, replaced
//! whole when something changes; the forwarding table is apart, because it changes one by one.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::counters::Counters;
use crate::io::tap::Queue;
use crate::io::udp::Address;
use crate::packet::{self, Mac, Packet};
use crate::vxlan;

/// An endpoint of this host.
#[derive(Debug)]
pub struct Port {
    /// Its number, never used again.
    pub id: u32,
    /// The network it is in.
    pub vni: u32,
    /// The only MAC it may speak as; `None` where any may.
    pub mac: Option<Mac>,
    /// One a queue of its link.
    pub queues: Vec<Queue>,
    /// What its link sent, and what was given to it.
    pub counters: Counters,
    takes_uso: AtomicBool,
    blocked: AtomicBool,
}

impl Port {
    /// A port whose link takes super-frames of UDP, or not.
    pub fn new(id: u32, vni: u32, mac: Option<Mac>, queues: Vec<Queue>, takes_uso: bool) -> Self {
        Self {
            id,
            vni,
            mac,
            queues,
            counters: Counters::default(),
            takes_uso: AtomicBool::new(takes_uso),
            blocked: AtomicBool::new(false),
        }
    }

    /// Whether the switch wants to see everything it sends.
    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// The switch blocked it, or gave it another chance.
    pub fn block(&self, blocked: bool) {
        self.blocked.store(blocked, Ordering::Relaxed);
    }

    /// Whether its link takes super-frames of UDP.
    pub fn takes_uso(&self) -> bool {
        self.takes_uso.load(Ordering::Relaxed)
    }

    /// Its link refused one.
    pub fn refuse_uso(&self) {
        self.takes_uso.store(false, Ordering::Relaxed);
    }
}

/// Where a VXLAN tunnel ends.
pub struct Vtep {
    /// Its number in the list of VTEPs, which is what the forwarding table holds.
    pub number: u32,
    /// Its address.
    pub address: SocketAddr,
    /// The same as the kernel takes it.
    pub name: Address,
    /// What came from it and went to it.
    pub counters: Counters,
    takes_bursts: AtomicBool,
    completes_checksums: AtomicBool,
    frame_max: AtomicUsize,
}

impl Vtep {
    /// The end of a tunnel.
    pub fn new(number: u32, address: SocketAddr) -> Self {
        Self {
            number,
            address,
            name: Address::from(address),
            counters: Counters::default(),
            takes_bursts: AtomicBool::new(true),
            completes_checksums: AtomicBool::new(false),
            frame_max: AtomicUsize::new(usize::MAX),
        }
    }

    /// Whether the kernel cuts bursts on the way to it.
    pub fn takes_bursts(&self) -> bool {
        self.takes_bursts.load(Ordering::Relaxed)
    }

    /// Whether inner checksums may be left to it.
    pub fn completes_checksums(&self) -> bool {
        self.completes_checksums.load(Ordering::Relaxed)
    }

    /// It said so, or says so no longer.
    pub fn set_completes_checksums(&self, completes: bool) {
        self.completes_checksums.store(completes, Ordering::Relaxed);
    }

    /// Octets of the longest frame that the way to it carries.
    pub fn frame_max(&self) -> usize {
        self.frame_max.load(Ordering::Relaxed)
    }

    /// What was found out about the way to it.
    pub fn set_frame_max(&self, octets: usize) {
        self.frame_max.store(octets, Ordering::Relaxed);
    }

    /// The kernel refused, or nothing is known any more.
    pub fn set_takes_bursts(&self, takes: bool) {
        self.takes_bursts.store(takes, Ordering::Relaxed);
    }
}

/// Another VTEP that has a network.
#[derive(Clone)]
pub struct Peer {
    /// Which.
    pub vtep: Arc<Vtep>,
    /// A foreign VTEP: its stations are learned from what it sends.
    pub learning: bool,
}

/// A network's settings: `vxnet.switch.model.Segment`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // Python says what each is
pub struct Settings {
    /// Octets of the longest frame that is sent to other hosts.
    pub frame_max: usize,
    pub learning: bool,
    pub flood_unknown: bool,
    pub vlan_transparent: bool,
    pub strict_reserved: bool,
    /// Whether the switch is to see frames of VTEPs that are no peers.
    pub meets_strangers: bool,
    /// What of the inner traffic class is copied to the outer one, and what is there in any case.
    pub class_mask: u8,
    pub class_fixed: u8,
}

impl Settings {
    /// Octets of the longest IP packet that the network carries.
    pub fn mtu(&self) -> usize {
        let tag = if self.vlan_transparent { packet::TAG } else { 0 };
        self.frame_max.saturating_sub(packet::ETHERNET + tag)
    }

    /// The outer traffic class of a frame.
    pub fn outer_class(&self, frame: &[u8]) -> u8 {
        vxlan::outer_class(frame) & self.class_mask | self.class_fixed
    }
}

/// One network on this host.
#[derive(Clone)]
pub struct Segment {
    /// Its number.
    pub vni: u32,
    /// Its settings.
    pub settings: Settings,
    /// The other VTEPs that have it, by address: who may send into it.
    pub peers: HashMap<IpAddr, Peer>,
    /// What came out of its tunnels and went into them.
    pub counters: Arc<Counters>,
    /// MACs of services: what is sent to them belongs to a flow, or the switch chooses who takes it.
    pub services: HashSet<Mac>,
    /// MACs of stations that answer for services here: what they send may belong to a flow.
    pub servers: HashSet<Mac>,
    /// Those that speak for clients outside: what they send goes to a flow's member, or the switch
    /// notes whose it is.
    pub relays: HashSet<Mac>,
    /// Those whose packets matter to the switch even where no flow is known.
    pub suspects: HashSet<Mac>,
}

impl Segment {
    /// A network without ports and peers.
    pub fn new(vni: u32, settings: Settings) -> Self {
        Self {
            vni,
            settings,
            peers: HashMap::new(),
            counters: Arc::default(),
            services: HashSet::new(),
            servers: HashSet::new(),
            relays: HashSet::new(),
            suspects: HashSet::new(),
        }
    }

    /// Whether what a station sends may belong to a flow.
    pub fn is_server(&self, mac: Mac) -> bool {
        let is_any = |set: &HashSet<Mac>| !set.is_empty() && set.contains(&mac);
        is_any(&self.servers) || is_any(&self.relays) || is_any(&self.suspects)
    }

    /// Octets of the longest IP packet that goes to a VTEP, for one at this place in its frame.
    pub fn mtu_to(&self, vtep: &Vtep, packet: Option<&Packet>) -> usize {
        let before = packet.map_or(packet::ETHERNET, |packet| packet.network);
        self.settings.mtu().min(vtep.frame_max().saturating_sub(before))
    }

    /// Replace the peers.
    pub fn set_peers(&mut self, peers: impl IntoIterator<Item = Peer>) {
        self.peers = peers.into_iter().map(|peer| (peer.vtep.address.ip(), peer)).collect();
    }
}

/// Everything.
#[derive(Clone, Default)]
pub struct Model {
    /// Networks by VNI.
    pub segments: HashMap<u32, Arc<Segment>>,
    /// Ports by id.
    pub ports: HashMap<u32, Arc<Port>>,
    /// Ends of tunnels by number.
    pub vteps: Vec<Arc<Vtep>>,
    /// Those that are a peer in any network, by address.
    pub peers: HashMap<IpAddr, Arc<Vtep>>,
}
