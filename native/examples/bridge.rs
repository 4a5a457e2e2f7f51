//! The datapath alone, without Python: joins one TAP to one other host, and learns.
//!
//!     cargo run --release --example bridge -- TAP LOCAL_IP REMOTE_IP [WORKERS [BUSY_POLL_US]]
//!
//! Makes the TAP in this network namespace (move it where it is wanted) and runs until it is ended.
//! For measuring and profiling; `vxnet daemon` is what people run.

use std::fs::OpenOptions;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::Duration;

use vxnet_native::counters::Reason;
use vxnet_native::egress::Egress;
use vxnet_native::io::poll::Poll;
use vxnet_native::io::tap::Queue;
use vxnet_native::model::{Peer, Port, Segment, Settings, Vtep};
use vxnet_native::packet;
use vxnet_native::punt::{Origin, Punt};
use vxnet_native::settle::{Decision, settle};
use vxnet_native::table::{Entry, Target};
use vxnet_native::workers::{Plan, Workers};

const VNI: u32 = 100;
const PORT: u32 = 1;

fn open_tap(name: &str) -> io::Result<OwnedFd> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    // linux/if_tun.h: TUNSETIFF with IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, then all offloads.
    let mut request = [0u8; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    request[16..18].copy_from_slice(&0x5002u16.to_ne_bytes());
    // SAFETY: the request is a `struct ifreq` of 40 octets, exclusively ours.
    if unsafe { libc::ioctl(file.as_raw_fd(), 0x4004_54ca, request.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let offloads: libc::c_ulong = 0x01 | 0x02 | 0x04 | 0x08 | 0x20 | 0x40;
    // SAFETY: takes a number, no pointer.
    if unsafe { libc::ioctl(file.as_raw_fd(), 0x4004_54d0, offloads) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file.into())
}

fn learn(workers: &Workers, punt: &Punt) {
    let target = match punt.origin {
        Origin::Port(id) | Origin::TooBig { port: id, .. } => Target::Port(id),
        Origin::Tunnel { .. } => Target::Vtep(0),
    };
    if let Some((_, source, _)) = packet::addresses(punt.frame()) {
        workers.shared.table.set(VNI, source, Entry { target, ages: false, seen: 0 });
    }
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, tap, local, remote, rest @ ..] = arguments.as_slice() else {
        return Err(io::Error::other(
            "usage: bridge TAP LOCAL_IP REMOTE_IP [WORKERS [BUSY_POLL_US]]",
        ));
    };
    let ip = |text: &str| text.parse::<IpAddr>().map_err(io::Error::other);
    let number =
        |at: usize, default| rest.get(at).map_or(default, |text| text.parse().unwrap_or(default));
    let tap = open_tap(tap)?;
    let plan = Plan {
        local: SocketAddr::new(ip(local)?, 14789),
        workers: number(0, 1) as usize,
        ports: (50_000..50_100).collect(),
        senders: 16,
        receive_octets: 16 << 20,
        send_octets: 4 << 20,
        checksum: true,
        busy_poll: Duration::from_micros(number(1, 0)),
    };
    let mut workers = Workers::open(&plan, Vec::new())?;
    workers.begin()?;
    let port = Arc::new(Port::new(PORT, VNI, None, vec![Queue::duplicate(tap.as_raw_fd())?], true));
    let vtep = Arc::new(Vtep::new(0, SocketAddr::new(ip(remote)?, 14789)));
    let settings = Settings {
        meets_strangers: false,
        class_mask: 3,
        class_fixed: 0,
        frame_max: 65_535,
        learning: true,
        flood_unknown: true,
        vlan_transparent: true,
        strict_reserved: false,
    };
    workers.change(|model| {
        let mut segment = Segment::new(VNI, settings);
        segment.set_peers([Peer { vtep: Arc::clone(&vtep), learning: true }]);
        model.peers.insert(vtep.address.ip(), Arc::clone(&vtep));
        model.segments.insert(VNI, Arc::new(segment));
        model.ports.insert(PORT, port);
        model.vteps.push(vtep);
    });
    let shared = &workers.shared;
    let mut egress = Egress::default();
    let poll = Poll::new()?;
    // SAFETY: the queue, and with it its descriptor, lives as long as the program.
    poll.add(unsafe { BorrowedFd::borrow_raw(shared.punts.descriptor()) }, 0)?;
    loop {
        poll.wait(-1, &mut Vec::new())?;
        let punts = shared.punts.take(64);
        let model = shared.model.load_full();
        for punt in punts {
            learn(&workers, &punt);
            let context = shared.context(&model, shared.now(), 0);
            let decision = match punt.origin {
                Origin::Port(_) => Decision::Flood { ports: vec![], vteps: vec![0] },
                Origin::TooBig { .. } => Decision::Drop(Reason::TooBig),
                Origin::Tunnel { .. } => Decision::Deliver(PORT),
            };
            settle(context, &mut egress, &punt, decision);
        }
    }
}
