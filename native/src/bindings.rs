//! `vxnet._native`: what `vxnet/datapath/native.py` calls. Octets are as Python has them (`Ip`,
//! `Mac`), so nothing is parsed here; whatever waits lets go of Python's lock.

mod flows;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::counters::{Counters, Reason};
use crate::egress::{Egress, READ_MAX};
use crate::io::tap::Queue;
use crate::model::{Model, Peer, Port, Segment, Settings, Vtep};
use crate::packet::Mac;
use crate::punt::{Origin, Punt};
use crate::rewrite::{Address, Edit};
use crate::settle::{Decision, settle};
use crate::table::{Entry, Target};
use crate::vnet;
use crate::watch::{End, Entrance, Sight};
use crate::workers::{Plan, Workers};
use crate::yard;

/// `Counters` of `vxnet.datapath.base`, drops by number.
type Row = (u64, u64, u64, u64, u64, u64, Vec<u64>, u64, u64);

// Flags of an entry that is programmed.
const GONE: u16 = 1;
const IS_VTEP: u16 = 2;
const AGES: u16 = 4;

fn row(counters: &Counters) -> Row {
    (
        counters.received.get(),
        counters.received_octets.get(),
        counters.delivered.get(),
        counters.sent.get(),
        counters.flooded.get(),
        counters.replied.get(),
        counters.drops.iter().map(|drop| drop.get()).collect(),
        counters.out.get(),
        counters.out_octets.get(),
    )
}

fn address(ip: &[u8], port: u16) -> PyResult<SocketAddr> {
    let ip = match ip.len() {
        4 => <[u8; 4]>::try_from(ip).map(IpAddr::from),
        _ => <[u8; 16]>::try_from(ip).map(IpAddr::from),
    };
    let ip = ip.map_err(|_| PyValueError::new_err("an IP address has 4 or 16 octets"))?;
    Ok(SocketAddr::new(ip, port))
}

fn octets(mac: &Bound<PyBytes>) -> PyResult<Mac> {
    Mac::try_from(mac.as_bytes()).map_err(|_| PyValueError::new_err("a MAC has 6 octets"))
}

fn octets_of(py: Python<'_>, ip: IpAddr) -> Bound<'_, PyBytes> {
    match ip {
        IpAddr::V4(ip) => PyBytes::new(py, &ip.octets()),
        IpAddr::V6(ip) => PyBytes::new(py, &ip.octets()),
    }
}

fn refused(error: std::io::Error) -> PyErr {
    PyOSError::new_err((error.raw_os_error().unwrap_or(0), error.to_string()))
}

/// A VTEP's number, whether it is learned from, whether inner checksums may be left to it.
type PeerRow = (u32, bool, bool);

/// The threads that carry frames, and what they know.
#[pyclass]
struct Engine {
    workers: Option<Workers>,
    takes_bursts: bool,
    numbers: HashMap<SocketAddr, u32>,
    waiting: Vec<Punt>,    // taken, and not yet decided
    egress: Mutex<Egress>, // for what was decided
}

impl Engine {
    fn workers(&self) -> PyResult<&Workers> {
        self.workers.as_ref().ok_or_else(|| PyRuntimeError::new_err("the engine is closed"))
    }

    fn change(&self, change: impl FnOnce(&mut Model)) -> PyResult<()> {
        self.workers()?.change(change);
        Ok(())
    }

    fn renew(&self, number: u32, address: SocketAddr) -> Arc<Vtep> {
        let vtep = Vtep::new(number, address);
        vtep.set_takes_bursts(self.takes_bursts);
        Arc::new(vtep)
    }
}

#[pymethods]
impl Engine {
    /// Open the sockets; `begin` starts the threads. Raises OSError.
    ///
    /// `inherited` are sockets that a former daemon received on; they are the engine's now.
    #[new]
    #[pyo3(signature = (ip, port, *, workers, source_ports, senders, receive_buffer, send_buffer, checksum, busy_poll_us, inherited))]
    #[allow(clippy::too_many_arguments)] // named, every one
    fn new(
        py: Python,
        ip: &[u8],
        port: u16,
        workers: usize,
        source_ports: Vec<u16>,
        senders: usize,
        receive_buffer: i32,
        send_buffer: i32,
        checksum: bool,
        busy_poll_us: u64,
        inherited: Vec<RawFd>,
    ) -> PyResult<Self> {
        let local = address(ip, port)?;
        // SAFETY: the caller hands them over, and does not use them any more.
        let inherited: Vec<OwnedFd> =
            inherited.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect();
        let plan = Plan {
            local,
            workers,
            ports: source_ports,
            senders,
            receive_octets: receive_buffer,
            send_octets: send_buffer,
            checksum,
            busy_poll: Duration::from_micros(busy_poll_us),
        };
        let workers = py.detach(|| Workers::open(&plan, inherited)).map_err(refused)?;
        Ok(Self {
            workers: Some(workers),
            // The kernel cuts no datagrams that it is not to write checksums for.
            takes_bursts: checksum,
            numbers: HashMap::new(),
            waiting: Vec::new(),
            egress: Mutex::default(),
        })
    }

    /// Stop the threads and close everything.
    fn close(&mut self, py: Python) {
        let workers = self.workers.take();
        py.detach(|| drop(workers));
    }

    /// Start the threads. Raises OSError.
    fn begin(&mut self) -> PyResult<()> {
        let workers = self.workers.as_mut();
        workers.map_or(Ok(()), Workers::begin).map_err(refused)
    }

    /// The sockets that datagrams arrive at.
    fn listeners(&self) -> PyResult<Vec<RawFd>> {
        Ok(self.workers()?.listeners.clone())
    }

    /// Readable while frames wait for `take`.
    fn punt_fd(&self) -> PyResult<RawFd> {
        Ok(self.workers()?.shared.punts.descriptor())
    }

    /// Add a network, or change its settings.
    #[pyo3(signature = (vni, *, frame_max, learning, flood_unknown, vlan_transparent, strict_reserved, meets_strangers, class_mask, class_fixed))]
    #[allow(clippy::too_many_arguments)] // named, every one
    fn set_segment(
        &self,
        vni: u32,
        frame_max: usize,
        learning: bool,
        flood_unknown: bool,
        vlan_transparent: bool,
        strict_reserved: bool,
        meets_strangers: bool,
        class_mask: u8,
        class_fixed: u8,
    ) -> PyResult<()> {
        let settings = Settings {
            frame_max,
            learning,
            flood_unknown,
            vlan_transparent,
            strict_reserved,
            meets_strangers,
            class_mask,
            class_fixed,
        };
        self.change(|model| {
            let before = model.segments.get(&vni);
            let mut segment =
                before.map_or_else(|| Segment::new(vni, settings), |before| Segment::clone(before));
            segment.settings = settings;
            model.segments.insert(vni, Arc::new(segment));
        })
    }

    /// Forget a network and its entries.
    fn remove_segment(&self, vni: u32) -> PyResult<()> {
        self.change(|model| drop(model.segments.remove(&vni)))?;
        self.workers()?.shared.table.remove_network(vni);
        Ok(())
    }

    /// Take a link into service; its descriptors stay the caller's.
    fn add_port(
        &self,
        port_id: u32,
        vni: u32,
        mac: Option<Bound<PyBytes>>,
        descriptors: Vec<RawFd>,
        uso: bool,
    ) -> PyResult<()> {
        let queues: std::io::Result<Vec<Queue>> =
            descriptors.into_iter().map(Queue::duplicate).collect();
        let mac = mac.as_ref().map(octets).transpose()?;
        let port = Arc::new(Port::new(port_id, vni, mac, queues.map_err(refused)?, uso));
        self.change(|model| drop(model.ports.insert(port_id, port)))
    }

    /// Take a link out of service. When this returns, no thread uses it.
    fn remove_port(&self, py: Python, port_id: u32) -> PyResult<()> {
        let workers = self.workers()?;
        py.detach(|| {
            workers.change(|model| drop(model.ports.remove(&port_id)));
            workers.settle_down();
        });
        Ok(())
    }

    /// Have the switch see everything a port sends, or not.
    fn block_port(&self, port_id: u32, blocked: bool) -> PyResult<()> {
        if let Some(port) = self.workers()?.shared.model.load().ports.get(&port_id) {
            port.block(blocked);
        }
        Ok(())
    }

    /// The number that stands for a VTEP from now on.
    fn vtep(&mut self, ip: &[u8], port: u16) -> PyResult<u32> {
        let address = address(ip, port)?;
        if let Some(number) = self.numbers.get(&address) {
            return Ok(*number);
        }
        let number = self.numbers.len() as u32;
        let vtep = self.renew(number, address);
        self.change(|model| model.vteps.push(vtep))?;
        self.numbers.insert(address, number);
        Ok(number)
    }

    /// Octets of the longest frame that the way to a VTEP carries.
    fn set_path(&self, number: u32, frame_max: usize) -> PyResult<()> {
        if let Some(vtep) = self.workers()?.shared.model.load().vteps.get(number as usize) {
            vtep.set_frame_max(frame_max);
        }
        Ok(())
    }

    /// A VTEP left: what was counted and found out about the way to it is void.
    fn forget_vtep(&self, number: u32) -> PyResult<()> {
        self.change(|model| {
            if let Some(vtep) = model.vteps.get_mut(number as usize) {
                *vtep = self.renew(number, vtep.address);
            }
        })
    }

    /// Replace the peers of networks, each with whether it is learned from and whether inner
    /// checksums may be left to it; unknown networks are ignored.
    fn set_peers(&self, peers: Vec<(u32, Vec<PeerRow>)>) -> PyResult<()> {
        self.change(|model| {
            for (vni, peers) in peers {
                let Some(before) = model.segments.get(&vni) else { continue };
                let mut segment = Segment::clone(before);
                segment.set_peers(peers.into_iter().filter_map(|(number, learning, remote)| {
                    let vtep = Arc::clone(model.vteps.get(number as usize)?);
                    vtep.set_completes_checksums(remote);
                    Some(Peer { vtep, learning })
                }));
                model.segments.insert(vni, Arc::new(segment));
            }
            let peers = model.segments.values().flat_map(|segment| segment.peers.values());
            model.peers =
                peers.map(|peer| (peer.vtep.address.ip(), Arc::clone(&peer.vtep))).collect();
        })
    }

    /// Put and remove entries, each of 16 octets: VNI, MAC, number of a port or VTEP, flags.
    fn program(&self, entries: &[u8]) -> PyResult<()> {
        let shared = &self.workers()?.shared;
        let (entries, rest) = entries.as_chunks::<16>();
        if !rest.is_empty() {
            return Err(PyValueError::new_err("an entry has 16 octets"));
        }
        let now = shared.now();
        for &[v0, v1, v2, v3, a, b, c, d, e, f, n0, n1, n2, n3, f0, f1] in entries {
            let (vni, mac) = (u32::from_ne_bytes([v0, v1, v2, v3]), [a, b, c, d, e, f]);
            let number = u32::from_ne_bytes([n0, n1, n2, n3]);
            let flags = u16::from_ne_bytes([f0, f1]);
            if flags & GONE != 0 {
                shared.table.remove(vni, mac);
                continue;
            }
            let is_vtep = flags & IS_VTEP != 0;
            let target = if is_vtep { Target::Vtep(number) } else { Target::Port(number) };
            shared.table.set(vni, mac, Entry { target, ages: flags & AGES != 0, seen: now });
        }
        Ok(())
    }

    /// The entries that age and were seen in the last `within_s` seconds: VNI, MAC, seconds ago.
    fn seen<'py>(
        &self,
        py: Python<'py>,
        within_s: u16,
    ) -> PyResult<Vec<(u32, Bound<'py, PyBytes>, u16)>> {
        let shared = &self.workers()?.shared;
        let now = shared.now();
        let mut seen = Vec::new();
        py.detach(|| {
            shared.table.for_each(|vni, mac, entry| {
                let ago = now.wrapping_sub(entry.seen);
                if entry.ages && ago <= within_s {
                    seen.push((vni, mac, ago));
                }
            });
        });
        Ok(seen.into_iter().map(|(vni, mac, ago)| (vni, PyBytes::new(py, &mac), ago)).collect())
    }

    /// The flows of services, which stay as they are when the engine is closed.
    fn flows(&self) -> PyResult<flows::Flows> {
        let shared = &self.workers()?.shared;
        Ok(flows::Flows::new(Arc::clone(&shared.flows), shared.clock()))
    }

    /// How many entries there are, and how many octets they take.
    fn table_size(&self) -> PyResult<(usize, usize)> {
        let table = &self.workers()?.shared.table;
        Ok((table.len(), table.octets()))
    }

    /// The next frames for the switch: port (or None), VNI, outer source, reserved bits, frame, and
    /// for one that was too big what would have fit: dropped already, only its sender may be told.
    /// `settle` is to be called with a decision for each before the next.
    #[allow(clippy::type_complexity)] // a row of plain values
    fn take<'py>(
        &mut self,
        py: Python<'py>,
        most: usize,
    ) -> PyResult<
        Vec<(Option<u32>, u32, Bound<'py, PyBytes>, bool, Bound<'py, PyBytes>, Option<usize>)>,
    > {
        self.waiting = self.workers()?.shared.punts.take(most);
        Ok(self
            .waiting
            .iter()
            .map(|punt| {
                let frame = PyBytes::new(py, punt.frame());
                match punt.origin {
                    Origin::Port(id) => (Some(id), 0, PyBytes::new(py, &[]), false, frame, None),
                    Origin::TooBig { port, frame_max } => {
                        (Some(port), 0, PyBytes::new(py, &[]), false, frame, Some(frame_max))
                    }
                    Origin::Tunnel { vni, from, reserved } => {
                        (None, vni, octets_of(py, from), reserved, frame, None)
                    }
                }
            })
            .collect())
    }

    /// Which MACs of a network are services', which answer for them here, which speak for clients
    /// outside, and whose packets matter even where no flow is known.
    fn set_services(
        &self,
        vni: u32,
        services: Vec<Bound<PyBytes>>,
        servers: Vec<Bound<PyBytes>>,
        relays: Vec<Bound<PyBytes>>,
        suspects: Vec<Bound<PyBytes>>,
    ) -> PyResult<()> {
        let services = services.iter().map(octets).collect::<PyResult<_>>()?;
        let servers = servers.iter().map(octets).collect::<PyResult<_>>()?;
        let relays = relays.iter().map(octets).collect::<PyResult<_>>()?;
        let suspects = suspects.iter().map(octets).collect::<PyResult<_>>()?;
        self.change(|model| {
            let Some(before) = model.segments.get(&vni) else { return };
            let mut segment = Segment::clone(before);
            segment.services = services;
            segment.servers = servers;
            segment.relays = relays;
            segment.suspects = suspects;
            model.segments.insert(vni, Arc::new(segment));
        })
    }

    /// Give a port a frame that nobody sent.
    fn give(&self, port_id: u32, frame: &[u8]) -> PyResult<()> {
        let shared = &self.workers()?.shared;
        let model = shared.model.load_full();
        if let Some(port) = model.ports.get(&port_id) {
            let _ = yard::deliver(shared.context(&model, shared.now(), 0), port, frame);
        }
        Ok(())
    }

    /// Carry out what was decided, in the order of `take`: a verb and its object.
    fn settle(&mut self, decisions: Vec<(u8, Bound<PyAny>)>) -> PyResult<()> {
        let punts = std::mem::take(&mut self.waiting);
        let shared = &self.workers()?.shared;
        let model = shared.model.load_full();
        let mut egress = self.egress.lock().unwrap_or_else(PoisonError::into_inner);
        let context = shared.context(&model, shared.now(), 0);
        for (punt, (verb, object)) in punts.iter().zip(decisions) {
            settle(context, &mut egress, punt, decision(verb, &object)?);
        }
        egress.forget();
        Ok(())
    }

    /// Who sent frames into networks whose peer it is not, and how many.
    fn strangers<'py>(&self, py: Python<'py>) -> PyResult<Vec<(Bound<'py, PyBytes>, u64)>> {
        let seen = self.workers()?.shared.strangers.all();
        Ok(seen.into_iter().map(|(from, frames)| (octets_of(py, from), frames)).collect())
    }

    /// Carry a frame as if a port's link had sent it. Unknown ports are ignored.
    fn inject(&self, port_id: u32, frame: &[u8]) -> PyResult<()> {
        if frame.len() > READ_MAX - vnet::BYTES {
            return Err(PyValueError::new_err("no link sends a frame that long"));
        }
        let shared = &self.workers()?.shared;
        let model = shared.model.load_full();
        let Some(port) = model.ports.get(&port_id) else { return Ok(()) };
        let Some(segment) = model.segments.get(&port.vni) else { return Ok(()) };
        let mut egress = self.egress.lock().unwrap_or_else(PoisonError::into_inner);
        let context = shared.context(&model, shared.now(), 0);
        egress.inject(context, port, segment, frame);
        egress.forget();
        Ok(())
    }

    /// Keep so many octets of every frame for `sights` from now on; 0 ends that.
    fn watch(&self, snap: usize) -> PyResult<()> {
        self.workers()?.shared.watch.set(snap);
        Ok(())
    }

    /// Readable while there is something for `sights`.
    fn watch_fd(&self) -> PyResult<RawFd> {
        Ok(self.workers()?.shared.watch.descriptor())
    }

    /// Frames that were watched: nanoseconds of Unix time, VNI, port (or None) and outer source they
    /// entered by, a verb as `settle` takes it, its number, how many frames it stands for, how long
    /// it was, and its first octets. And how many more were missed.
    #[allow(clippy::type_complexity)] // a row of plain values
    fn sights<'py>(&self, py: Python<'py>, most: usize) -> PyResult<(Vec<SightRow<'py>>, u64)> {
        let (sights, missed) = self.workers()?.shared.watch.take(most);
        Ok((sights.iter().map(|sight| sight_row(py, sight)).collect(), missed))
    }

    /// What was counted: ports by id, networks by VNI, VTEPs by number, strays, and the machinery's
    /// own by name. Drops are in the order of `reasons()`.
    #[allow(clippy::type_complexity)] // a row of plain values
    fn stats(
        &self,
    ) -> PyResult<(
        HashMap<u32, Row>,
        HashMap<u32, Row>,
        HashMap<u32, Row>,
        Vec<u64>,
        HashMap<&'static str, u64>,
    )> {
        let shared = &self.workers()?.shared;
        let model = shared.model.load();
        Ok((
            model.ports.iter().map(|(&id, port)| (id, row(&port.counters))).collect(),
            model.segments.iter().map(|(&vni, network)| (vni, row(&network.counters))).collect(),
            model.vteps.iter().map(|vtep| (vtep.number, row(&vtep.counters))).collect(),
            row(&shared.stray).6,
            shared.io.all().into_iter().collect(),
        ))
    }
}

type SightRow<'py> =
    (u64, u32, Option<u32>, Bound<'py, PyBytes>, u8, (u32, u32), u32, u32, Bound<'py, PyBytes>);

fn sight_row<'py>(py: Python<'py>, sight: &Sight) -> SightRow<'py> {
    let (port, ip) = match sight.entrance {
        Entrance::Port(id) => (Some(id), PyBytes::new(py, &[])),
        Entrance::Tunnel(IpAddr::V4(ip)) => (None, PyBytes::new(py, &ip.octets())),
        Entrance::Tunnel(IpAddr::V6(ip)) => (None, PyBytes::new(py, &ip.octets())),
    };
    let (verb, number) = match sight.end {
        End::Dropped(reason) => (0, (reason as u32, 0)),
        End::Delivered(id) => (1, (id, 0)),
        End::Sent(vtep) => (2, (vtep, 0)),
        End::Flooded(ports, vteps) => (3, (ports, vteps)),
        End::Replied => (4, (0, 0)),
    };
    let octets = PyBytes::new(py, &sight.octets);
    (sight.at_ns, sight.vni, port, ip, verb, number, sight.frames, sight.length, octets)
}

/// `vxnet.wire.rewrite.Edit`.
type EditRow<'py> =
    (Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>, u16, u16);

fn edit_of(
    (to, from, source, destination, source_port, destination_port): &EditRow,
) -> PyResult<Edit> {
    let ip = |ip: &Bound<PyBytes>| {
        let mut address = Address::default();
        let room = address.get_mut(..ip.as_bytes().len());
        room.ok_or_else(|| PyValueError::new_err("an IP address has at most 16 octets"))?
            .copy_from_slice(ip.as_bytes());
        PyResult::Ok(address)
    };
    Ok(Edit {
        destination_mac: octets(to)?,
        source_mac: octets(from)?,
        source: ip(source)?,
        destination: ip(destination)?,
        source_port: *source_port,
        destination_port: *destination_port,
    })
}

fn decision(verb: u8, object: &Bound<PyAny>) -> PyResult<Decision> {
    Ok(match verb {
        0 => {
            let number: usize = object.extract()?;
            let reason = Reason::ALL.get(number);
            Decision::Drop(*reason.ok_or_else(|| PyValueError::new_err("no such drop reason"))?)
        }
        1 => Decision::Deliver(object.extract()?),
        2 => Decision::Send(object.extract()?),
        3 => {
            let (ports, vteps) = object.extract()?;
            Decision::Flood { ports, vteps }
        }
        4 => Decision::Reply(object.extract()?),
        5 => {
            let (frame, verb, object): (Vec<u8>, u8, Bound<PyAny>) = object.extract()?;
            Decision::Replace(frame, Box::new(decision(verb, &object)?))
        }
        6 => {
            let (edit, has_ports, verb, object): (EditRow, bool, u8, Bound<PyAny>) =
                object.extract()?;
            let then = Box::new(decision(verb, &object)?);
            Decision::Rewrite { edit: edit_of(&edit)?, has_ports, then }
        }
        _ => return Err(PyValueError::new_err(format!("decision {verb} is unknown"))),
    })
}

/// The names of the drop reasons, in the order of their numbers.
#[pyfunction]
fn reasons() -> Vec<&'static str> {
    Reason::ALL.iter().map(|reason| reason.name()).collect()
}

/// The fast datapath of vxnet.
#[pymodule]
fn _native(module: &Bound<PyModule>) -> PyResult<()> {
    module.add_class::<Engine>()?;
    module.add_class::<flows::Flows>()?;
    module.add_function(wrap_pyfunction!(reasons, module)?)
}
