//! Threads that carry frames: each waits for some queues of links and one socket.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::counters::{Counters, Io};
use crate::decide::View;
use crate::egress::{Context, Egress};
use crate::flows::Flows;
use crate::ingress::Ingress;
use crate::io::poll::{Bell, Poll};
use crate::io::udp::Socket;
use crate::model::{Model, Port};
use crate::outbox::Senders;
use crate::place::{Kept, Place};
use crate::punt;
use crate::seat::Load;
use crate::strangers::Strangers;
use crate::table::Table;
use crate::vigil::Vigil;
use crate::watch::Watch;

/// Frames read from one link before the others have their turn.
const TURN: usize = 64;
/// How long a link that failed is left alone.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a change waits for the workers to have seen it; they take far less.
const PATIENCE: Duration = Duration::from_millis(500);

/// Seconds since the start, which wrap around after 18 hours.
#[derive(Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// As they are.
    pub fn now(self) -> u16 {
        self.0.elapsed().as_secs() as u16
    }
}

/// What all threads share.
pub struct Shared {
    /// Where stations are.
    pub table: Table,
    /// What becomes of packets to services, and from them.
    pub flows: Arc<Flows>,
    /// What else there is.
    pub model: ArcSwap<Model>,
    /// The way up.
    pub punts: punt::Queue,
    /// Who looks on.
    pub watch: Watch,
    /// The way out.
    pub senders: Senders,
    /// The machinery's own counters.
    pub io: Io,
    /// Datagrams that belong to no network here.
    pub stray: Counters,
    /// Frames of VTEPs that are no peers.
    pub strangers: Strangers,
    busy_poll: Duration,
    kept: Kept,
    clock: Clock,
    stopping: AtomicBool,
    version: AtomicU64,
    seen: Mutex<Vec<u64>>, // which version each worker works with
    seen_changed: Condvar,
    bells: Vec<Bell>,
}

impl Shared {
    /// The clock of the tables.
    pub fn now(&self) -> u16 {
        self.clock.now()
    }

    /// That clock, for others to keep.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// What carrying frames needs, with the model as `model` holds it.
    pub fn context<'a>(&'a self, model: &'a Model, now: u16, queue: usize) -> Context<'a> {
        Context {
            view: View { table: &self.table, flows: &self.flows, model, now },
            senders: &self.senders,
            punts: &self.punts,
            watch: &self.watch,
            io: &self.io,
            strangers: &self.strangers,
            queue,
        }
    }

    fn seen(&self) -> MutexGuard<'_, Vec<u64>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The threads, and what they share.
pub struct Workers {
    /// What they share.
    pub shared: Arc<Shared>,
    /// Where datagrams arrive, for whoever goes on with it.
    pub listeners: Vec<RawFd>,
    idle: Vec<Worker>,
    threads: Vec<JoinHandle<()>>,
}

/// How the threads are to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where datagrams arrive: this host's VTEP.
    pub local: SocketAddr,
    /// How many threads.
    pub workers: usize,
    /// The source ports that outer packets leave from, to be tried in turn until `senders` are free.
    pub ports: Vec<u16>,
    /// How many source ports.
    pub senders: usize,
    /// Octets of buffer where datagrams arrive.
    pub receive_octets: i32,
    /// Octets of buffer of each socket they leave from.
    pub send_octets: i32,
    /// Whether outer UDP checksums are written.
    pub checksum: bool,
    /// How long a thread without frames looks again before it sleeps, at most.
    pub busy_poll: Duration,
}

impl Workers {
    /// Open the sockets. Fails as the system does, with nothing left open.
    ///
    /// `inherited` are sockets that a former daemon received on, with what waits in them.
    pub fn open(plan: &Plan, inherited: Vec<OwnedFd>) -> io::Result<Self> {
        let count = plan.workers.max(1);
        let mut listeners = Vec::new();
        let mut inherited = inherited.into_iter();
        for index in 0..count {
            let listener = match inherited.next() {
                Some(descriptor) => Socket::inherit(descriptor, plan.local),
                // The first takes the port alone, so that it fails where somebody else has it.
                None => Socket::bind(plan.local, index > 0)?,
            };
            if count > 1 && index == 0 {
                listener.share()?;
            }
            listener.receive_bursts()?;
            listener.enlarge_inbox(plan.receive_octets)?;
            if !plan.checksum {
                listener.accept_no_checksum()?;
            }
            listeners.push(listener);
        }
        let shared = Arc::new(Shared {
            table: Table::default(),
            flows: Arc::default(),
            model: ArcSwap::default(),
            punts: punt::Queue::new()?,
            watch: Watch::new()?,
            senders: Senders::new(senders(plan)?),
            io: Io::default(),
            stray: Counters::default(),
            strangers: Strangers::default(),
            busy_poll: plan.busy_poll,
            kept: Kept::default(),
            clock: Clock(Instant::now()),
            stopping: AtomicBool::new(false),
            version: AtomicU64::new(0),
            seen: Mutex::new(vec![0; count]),
            seen_changed: Condvar::new(),
            bells: (0..count).map(|_| Bell::new()).collect::<io::Result<_>>()?,
        });
        let numbers = listeners.iter().map(|listener| listener.as_fd().as_raw_fd()).collect();
        let idle = listeners
            .into_iter()
            .enumerate()
            .map(|(index, listener)| Worker::new(Arc::clone(&shared), index, listener))
            .collect::<io::Result<_>>()?;
        Ok(Self { shared, listeners: numbers, idle, threads: Vec::new() })
    }

    /// Carry frames from now on; what waits in the sockets is for a model that is complete.
    pub fn begin(&mut self) -> io::Result<()> {
        for (index, worker) in self.idle.drain(..).enumerate() {
            let run = move || {
                let _dead_man = DeadMan;
                worker.run();
            };
            self.threads.push(thread::Builder::new().name(format!("vxnet-{index}")).spawn(run)?);
        }
        Ok(())
    }

    /// Replace the model. Workers take it up before they carry the next frames.
    pub fn change(&self, change: impl FnOnce(&mut Model)) {
        let shared = &self.shared;
        let mut model = Model::clone(&shared.model.load());
        change(&mut model);
        shared.model.store(Arc::new(model));
        shared.version.fetch_add(1, Ordering::Release);
        self.ring();
    }

    /// Wait until no worker uses an older model: whatever left it is then closed.
    pub fn settle_down(&self) {
        let shared = &self.shared;
        let version = shared.version.load(Ordering::Acquire);
        let deadline = Instant::now() + PATIENCE;
        let mut seen = shared.seen();
        while seen.iter().any(|&of| of < version) {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { break };
            (seen, _) = shared
                .seen_changed
                .wait_timeout(seen, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn ring(&self) {
        for bell in &self.shared.bells {
            bell.ring();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.ring();
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // it can not have panicked
        }
    }
}

fn senders(plan: &Plan) -> io::Result<Vec<Socket>> {
    let mut sockets = Vec::new();
    let mut problem = io::Error::from(io::ErrorKind::AddrInUse);
    for &port in &plan.ports {
        if sockets.len() == plan.senders {
            break;
        }
        match Socket::bind(SocketAddr::new(plan.local.ip(), port), false) {
            Ok(socket) => {
                socket.enlarge_outbox(plan.send_octets)?;
                if !plan.checksum {
                    socket.write_no_checksum()?;
                }
                sockets.push(socket);
            }
            Err(error) => problem = error,
        }
    }
    if sockets.is_empty() { Err(problem) } else { Ok(sockets) }
}

/// Ends the process with a thread that panics: a daemon that carries nothing must not look alive.
struct DeadMan;

impl Drop for DeadMan {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}

const BELL: u64 = u64::MAX;
const SOCKET: u64 = u64::MAX - 1;

fn token(port: u32, queue: usize) -> u64 {
    u64::from(port) << 16 | queue as u64
}

struct Worker {
    shared: Arc<Shared>,
    index: usize,
    socket: Socket,
    poll: Poll,
    ports: HashMap<u32, Arc<Port>>,
    paused: Vec<(Instant, u64)>,
    model: Arc<Model>,
    version: u64,
    egress: Egress,
    ingress: Ingress,
}

impl Worker {
    fn new(shared: Arc<Shared>, index: usize, socket: Socket) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.add(shared.bells[index].as_fd(), BELL)?;
        poll.add(socket.as_fd(), SOCKET)?;
        Ok(Self {
            model: shared.model.load_full(),
            shared,
            index,
            socket,
            poll,
            ports: HashMap::new(),
            paused: Vec::new(),
            version: 0,
            egress: Egress::default(),
            ingress: Ingress::default(),
        })
    }

    fn run(mut self) {
        let mut ready = Vec::new();
        let mut place = Place::new(self.index, Instant::now());
        let mut vigil = Vigil::new(self.shared.busy_poll, Instant::now());
        loop {
            let longest_ms = self.resume_ms();
            let looked = vigil.is_kept().then(Instant::now);
            let timeout_ms = if looked.is_some() { 0 } else { longest_ms };
            self.poll.wait(timeout_ms, &mut ready).expect("an epoll instance can be waited for");
            if let (Some(looked), true) = (looked, ready.is_empty()) {
                thread::yield_now();
                vigil.gave_way(looked, Instant::now());
                continue;
            }
            vigil.found(Instant::now());
            let shared = Arc::clone(&self.shared);
            // Hushed before looking, so that a change made meanwhile rings again.
            if ready.contains(&BELL) {
                shared.bells[self.index].hush();
            }
            if self.version != shared.version.load(Ordering::Acquire) {
                self.follow();
            }
            let now = shared.now();
            for &token in &ready {
                match token {
                    BELL => {}
                    SOCKET => self.receive(now),
                    token => self.read(token, now),
                }
            }
            if shared.stopping.load(Ordering::Acquire) {
                return;
            }
            let now = Instant::now();
            vigil.carried(now);
            let (out, sends) = self.egress.take_load();
            let inward = self.ingress.take_octets();
            place.carried(Load { out, inward }, sends, &shared.kept, now);
        }
    }

    fn receive(&mut self, now: u16) {
        let context = self.shared.context(&self.model, now, self.index);
        // What a socket says of datagrams sent before is told once and then over.
        let _ = self.ingress.drain(context, &self.socket, &self.shared.stray);
    }

    fn read(&mut self, token: u64, now: u16) {
        let (id, queue) = ((token >> 16) as u32, token as usize & 0xffff);
        let Some(port) = self.ports.get(&id) else { return };
        let context = self.shared.context(&self.model, now, self.index);
        if self.egress.drain(context, port, queue, TURN).is_err() {
            // Deleted, or its other end is gone: it would be ready for ever.
            self.shared.io.link_errors.add(1);
            if let Some(queue) = port.queues.get(queue) {
                let _ = self.poll.remove(queue.as_fd());
            }
            self.paused.push((Instant::now() + PAUSE, token));
        }
    }

    // Take up links whose pause is over, and say how long to sleep at most.
    fn resume_ms(&mut self) -> i32 {
        if self.paused.is_empty() {
            return -1;
        }
        let now = Instant::now();
        let (over, paused) = self.paused.drain(..).partition(|(until, _)| *until <= now);
        self.paused = paused;
        let over: Vec<(Instant, u64)> = over;
        for (_, token) in over {
            let (id, queue) = ((token >> 16) as u32, token as usize & 0xffff);
            if let Some(queue) = self.ports.get(&id).and_then(|port| port.queues.get(queue)) {
                let _ = self.poll.add(queue.as_fd(), token);
            }
        }
        PAUSE.as_millis() as i32
    }

    // Work with the newest model: wait for the ports that came, let go of those that went.
    fn follow(&mut self) {
        let version = self.shared.version.load(Ordering::Acquire);
        self.model = self.shared.model.load_full();
        self.egress.forget();
        self.ingress.forget();
        let mine = |port: &Port| {
            let (first, step) = (self.index, self.shared.bells.len());
            let offset = (first + step - port.id as usize % step) % step;
            (offset..port.queues.len()).step_by(step)
        };
        let gone: Vec<u32> =
            self.ports.keys().copied().filter(|id| !self.model.ports.contains_key(id)).collect();
        for id in gone {
            if let Some(port) = self.ports.remove(&id) {
                for queue in mine(&port) {
                    let _ = self.poll.remove(port.queues[queue].as_fd());
                }
            }
        }
        for (&id, port) in &self.model.ports {
            if !self.ports.contains_key(&id) {
                for queue in mine(port) {
                    let _ = self.poll.add(port.queues[queue].as_fd(), token(id, queue));
                }
                self.ports.insert(id, Arc::clone(port));
            }
        }
        let ports = &self.ports;
        self.paused.retain(|(_, token)| ports.contains_key(&((token >> 16) as u32)));
        self.version = version;
        self.shared.seen()[self.index] = version;
        self.shared.seen_changed.notify_all();
    }
}
