//! What became of frames: each ends in exactly one counter of where it entered.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! reasons {
    ($($reason:ident = $name:literal,)*) => {
        /// Why a frame went nowhere: `vxnet.switch.actions.DropReason`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)] // Python's enumeration says what each is for
        pub enum Reason { $($reason,)* }

        impl Reason {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$reason,)*];

            /// The counter's name, in the API and in the metrics.
            pub fn name(self) -> &'static str {
                match self { $(Self::$reason => $name,)* }
            }
        }
    };
}

reasons! {
    VxlanShort = "vxlan_short",
    VxlanNoVniFlag = "vxlan_no_vni_flag",
    VxlanReserved = "vxlan_reserved",
    UnknownVni = "unknown_vni",
    UnknownVtep = "unknown_vtep",
    FrameShort = "frame_short",
    FrameMalformed = "frame_malformed",
    VlanTagged = "vlan_tagged",
    SourceMacInvalid = "source_mac_invalid",
    PortSecurity = "port_security",
    Looped = "looped",
    EcnCongested = "ecn_congested",
    SamePort = "same_port",
    UnknownUnicast = "unknown_unicast",
    NoReceiver = "no_receiver",
    SplitHorizon = "split_horizon",
    PortUnknown = "port_unknown",
    ServiceClosed = "service_closed",
    ServiceEmpty = "service_empty",
    ServiceRefused = "service_refused",
    ServiceFragment = "service_fragment",
    RateLimited = "rate_limited",
    TooBig = "too_big",
    LinkDown = "link_down",
    LinkFull = "link_full",
    UnderlayFull = "underlay_full",
    UnderlayError = "underlay_error",
}

const REASONS: usize = Reason::ALL.len();

/// A number that many threads add to and one reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Count so many more.
    pub fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Count from nothing again.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// What was counted.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Frames and their octets: one, or what a super-frame stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub frames: usize,
    /// Octets of all of them, from their Ethernet headers on.
    pub octets: usize,
}

impl Amount {
    /// One frame.
    pub fn of(frame: &[u8]) -> Self {
        Self { frames: 1, octets: frame.len() }
    }
}

impl std::ops::AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.frames += other.frames;
        self.octets += other.octets;
    }
}

/// What became of a frame that went somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// To a port of this host.
    Delivered,
    /// To one other host.
    Sent,
    /// To everybody.
    Flooded,
    /// Answered here.
    Replied,
}

/// Frames that entered at one place, and what became of them.
#[derive(Debug, Default)]
#[allow(missing_docs)] // `vxnet.datapath.base.Counters` says what each is
pub struct Counters {
    pub received: Counter,
    pub received_octets: Counter,
    pub delivered: Counter,
    pub sent: Counter,
    pub flooded: Counter,
    pub replied: Counter,
    pub drops: [Counter; REASONS],
    pub out: Counter,
    pub out_octets: Counter,
}

impl Counters {
    /// Frames entered.
    pub fn receive(&self, amount: Amount) {
        self.received.add(amount.frames);
        self.received_octets.add(amount.octets);
    }

    /// Frames that entered found their way, or none.
    pub fn settle(&self, frames: usize, outcome: Result<Fate, Reason>) {
        match outcome {
            Ok(Fate::Delivered) => self.delivered.add(frames),
            Ok(Fate::Sent) => self.sent.add(frames),
            Ok(Fate::Flooded) => self.flooded.add(frames),
            Ok(Fate::Replied) => self.replied.add(frames),
            Err(reason) => self.drops[reason as usize].add(frames),
        }
    }

    /// Frames left here.
    pub fn leave(&self, amount: Amount) {
        self.out.add(amount.frames);
        self.out_octets.add(amount.octets);
    }
}

macro_rules! io_counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The machinery's own.
        #[derive(Debug, Default)]
        pub struct Io { $($(#[$doc])* pub $name: Counter,)* }

        impl Io {
            /// All of them, by name.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)*]
            }
        }
    };
}

io_counters! {
    /// Bursts received.
    bursts,
    /// Copies of a flooded frame that did not leave.
    copies_lost,
    /// Bursts the kernel would not cut, sent again datagram by datagram.
    gso_fallbacks,
    /// Reads of links that failed, and were tried again later.
    link_errors,
    /// Super-frames a link would not take, given to it frame by frame.
    link_fallbacks,
    /// Frames for the switch that found its queue full.
    punt_overflow,
    /// Frames handed up to the switch.
    punts,
    /// Errors that sockets reported on receiving.
    receive_errors,
    /// Errors that sockets reported on sending, other than full buffers and sizes.
    send_errors,
    /// Sends, of one datagram or a burst.
    sends,
    /// Bursts that lost their end because there was no room.
    truncated,
}
