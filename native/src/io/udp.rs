//! Datagrams between hosts: bursts in one call, with `UDP_SEGMENT` and `UDP_GRO` (udp(7)).

use std::io::{self, IoSlice};
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use super::checked;
use crate::room::Room;

/// The most datagrams one send may be cut into, by every kernel that can.
pub const SEGMENTS_MAX: usize = 64;
/// The most octets of one send, over IPv4 and thus over both.
pub const SEND_MAX: usize = 65_507;
/// Room for whatever one receive may bring.
pub const RECEIVE_MAX: usize = 65_536;

// linux/udp.h
const UDP_NO_CHECK6_TX: libc::c_int = 101;
const UDP_NO_CHECK6_RX: libc::c_int = 102;
const UDP_SEGMENT: libc::c_int = 103;
const UDP_GRO: libc::c_int = 104;

// Room for two control messages of an int, each behind its header.
const CONTROL: usize = 64;

#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// An address as the kernel takes it.
#[derive(Clone, Copy)]
pub struct Address {
    storage: libc::sockaddr_in6, // the larger of the two kinds
    octets: libc::socklen_t,
    is_v6: bool,
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        // SAFETY: an all-zero `sockaddr_in6` is a valid one; it has no references or enums.
        let mut storage: libc::sockaddr_in6 = unsafe { mem::zeroed() };
        match address {
            SocketAddr::V6(v6) => {
                storage.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                storage.sin6_port = v6.port().to_be();
                storage.sin6_addr.s6_addr = v6.ip().octets();
                storage.sin6_scope_id = v6.scope_id();
                let octets = mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t;
                Self { storage, octets, is_v6: true }
            }
            SocketAddr::V4(v4) => {
                let v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                // SAFETY: the destination is the larger of the two, and both are plain octets.
                unsafe { ptr::write(ptr::from_mut(&mut storage).cast(), v4) };
                let octets = mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
                Self { storage, octets, is_v6: false }
            }
        }
    }
}

/// A UDP socket of one address family, without fragmentation.
#[derive(Debug)]
pub struct Socket {
    descriptor: OwnedFd,
    is_v6: bool,
}

impl Socket {
    /// Go on with a socket that is bound to `local` already.
    pub fn inherit(descriptor: OwnedFd, local: SocketAddr) -> Self {
        Self { descriptor, is_v6: local.is_ipv6() }
    }

    /// Bind to `local`; with `shares`, beside others that do so.
    pub fn bind(local: SocketAddr, shares: bool) -> io::Result<Self> {
        let domain = if local.is_ipv6() { libc::AF_INET6 } else { libc::AF_INET };
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: takes no pointers.
        let descriptor = checked(unsafe { libc::socket(domain, kind, 0) })?;
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        let socket = Self { descriptor, is_v6: local.is_ipv6() };
        // RFC 7348 §4.3: VTEPs must not fragment. PROBE sets DF and leaves the size to us.
        if socket.is_v6 {
            socket.set(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
            let probe = libc::IPV6_PMTUDISC_PROBE;
            socket.set(libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, probe)?;
        } else {
            let probe = libc::IP_PMTUDISC_PROBE;
            socket.set(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, probe)?;
        }
        if shares {
            socket.share()?;
        }
        let address = Address::from(local);
        // SAFETY: the address is valid for the length given, and the kernel copies it.
        checked(unsafe {
            libc::bind(
                socket.descriptor.as_raw_fd(),
                ptr::from_ref(&address.storage).cast(),
                address.octets,
            )
        })?;
        Ok(socket)
    }

    /// Where it is bound.
    pub fn local(&self) -> io::Result<SocketAddr> {
        // SAFETY: an all-zero `sockaddr_in6` is a valid one; it has no references or enums.
        let mut name: libc::sockaddr_in6 = unsafe { mem::zeroed() };
        let mut octets = mem::size_of_val(&name) as libc::socklen_t;
        // SAFETY: the pointers are to a name exclusively ours and to its length.
        checked(unsafe {
            libc::getsockname(
                self.descriptor.as_raw_fd(),
                ptr::from_mut(&mut name).cast(),
                &raw mut octets,
            )
        })?;
        Ok(SocketAddr::new(ip_of(&name), u16::from_be(name.sin6_port)))
    }

    /// Let later sockets bind to the same address and take a part of its flows.
    pub fn share(&self) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)
    }

    /// Ask for the datagrams of a burst in one buffer, and for each burst's traffic class.
    pub fn receive_bursts(&self) -> io::Result<()> {
        self.set(libc::IPPROTO_UDP, UDP_GRO, 1)?;
        if self.is_v6 {
            self.set(libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)
        } else {
            self.set(libc::IPPROTO_IP, libc::IP_RECVTOS, 1)
        }
    }

    /// Ask for room for what arrives: beyond the system's limit where we may, else up to it.
    pub fn enlarge_inbox(&self, octets: i32) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, octets)
            .or_else(|_| self.set(libc::SOL_SOCKET, libc::SO_RCVBUF, octets))
    }

    /// The same for what leaves. Nothing is read from such a socket, so what strangers send to it
    /// is to cost no memory.
    pub fn enlarge_outbox(&self, octets: i32) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_RCVBUF, 1)?;
        self.set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, octets)
            .or_else(|_| self.set(libc::SOL_SOCKET, libc::SO_SNDBUF, octets))
    }

    /// Leave the UDP checksum out; over IPv6 both ends must have agreed (RFC 6935).
    pub fn write_no_checksum(&self) -> io::Result<()> {
        if self.is_v6 {
            self.set(libc::IPPROTO_UDP, UDP_NO_CHECK6_TX, 1)
        } else {
            self.set(libc::SOL_SOCKET, libc::SO_NO_CHECK, 1)
        }
    }

    /// Take datagrams without a UDP checksum; over IPv4 they always are.
    pub fn accept_no_checksum(&self) -> io::Result<()> {
        if self.is_v6 { self.set(libc::IPPROTO_UDP, UDP_NO_CHECK6_RX, 1) } else { Ok(()) }
    }

    fn set(&self, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
        let octets = mem::size_of_val(&value) as libc::socklen_t;
        // SAFETY: the pointer and the length are those of one int, which the kernel copies.
        checked(unsafe {
            libc::setsockopt(
                self.descriptor.as_raw_fd(),
                level,
                name,
                ptr::from_ref(&value).cast(),
                octets,
            )
        })?;
        Ok(())
    }

    /// Send the octets of `pieces` as one datagram, or, where `stride` is not 0, as datagrams of
    /// so many octets each but the last. `class` is the outer traffic class.
    pub fn send(
        &self,
        pieces: &[IoSlice],
        to: &Address,
        class: u8,
        stride: u16,
    ) -> io::Result<usize> {
        let mut control = Control([0; CONTROL]);
        let mut used = 0;
        if stride != 0 {
            used +=
                put_control(&mut control, used, libc::SOL_UDP, UDP_SEGMENT, &stride.to_ne_bytes());
        }
        if class != 0 {
            let (level, name) = if to.is_v6 {
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
            } else {
                (libc::IPPROTO_IP, libc::IP_TOS)
            };
            let class = i32::from(class).to_ne_bytes();
            used += put_control(&mut control, used, level, name, &class);
        }
        // SAFETY: an all-zero `msghdr` is a valid, empty one.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_name = ptr::from_ref(&to.storage).cast_mut().cast();
        message.msg_namelen = to.octets;
        message.msg_iov = pieces.as_ptr().cast_mut().cast();
        message.msg_iovlen = pieces.len();
        message.msg_control =
            if used == 0 { ptr::null_mut() } else { control.0.as_mut_ptr().cast() };
        message.msg_controllen = used;
        // SAFETY: the name, pieces (`IoSlice` has the layout of `iovec`) and control messages live
        // until the call returns, have the lengths given, and are only read.
        super::octets(unsafe {
            libc::sendmsg(self.descriptor.as_raw_fd(), &message, libc::MSG_NOSIGNAL)
        })
    }

    /// Take what has arrived, at most `most` bursts. `WouldBlock` where nothing has.
    pub fn receive(&self, inbox: &mut Inbox, most: usize) -> io::Result<()> {
        inbox.bursts.clear();
        let most = most.min(BURSTS_MAX);
        // SAFETY: all-zero `iovec`s and `mmsghdr`s are valid, empty ones.
        let (mut pieces, mut messages): ([libc::iovec; BURSTS_MAX], [libc::mmsghdr; BURSTS_MAX]) =
            unsafe { mem::zeroed() };
        for (index, room) in inbox.octets.chunks_exact_mut(RECEIVE_MAX).enumerate().take(most) {
            pieces[index].iov_base = room.as_mut_ptr().cast();
            pieces[index].iov_len = room.len();
            let header = &mut messages[index].msg_hdr;
            header.msg_name = ptr::from_mut(&mut inbox.names[index]).cast();
            header.msg_namelen = mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            header.msg_iov = &raw mut pieces[index];
            header.msg_iovlen = 1;
            header.msg_control = inbox.controls[index].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL;
        }
        // SAFETY: each header points to a name, a piece and control messages of its own, which are
        // exclusively ours until the call returns and have the lengths given.
        let count = checked(unsafe {
            libc::recvmmsg(
                self.descriptor.as_raw_fd(),
                messages.as_mut_ptr(),
                most as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        })?;
        for (index, message) in messages[..count as usize].iter().enumerate() {
            let start = index * RECEIVE_MAX;
            let octets = message.msg_len as usize;
            let mut burst = Burst {
                octets: start..start + octets,
                from: ip_of(&inbox.names[index]),
                stride: octets.max(1),
                class: 0,
                is_truncated: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            };
            let length = message.msg_hdr.msg_controllen.min(CONTROL);
            read_control(&inbox.controls[index].0[..length], &mut burst);
            inbox.bursts.push(burst);
        }
        Ok(())
    }

    /// For waiting.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// How many bursts one receive may bring.
pub const BURSTS_MAX: usize = 16;

/// Datagrams that came together: of one flow, all of one size but the last.
#[derive(Clone, Debug)]
pub struct Burst {
    /// Where they lie, side by side, in the inbox.
    pub octets: Range<usize>,
    /// Who sent them.
    pub from: IpAddr,
    /// Octets of each but the last, at least 1.
    pub stride: usize,
    /// Their traffic class: DSCP and ECN.
    pub class: u8,
    /// There was no room for the end of it.
    pub is_truncated: bool,
}

impl Burst {
    /// Leave out the last datagram, which lost its end.
    pub fn cut_short(&mut self) {
        let rest = self.octets.len() % self.stride.max(1);
        self.octets.end -= if rest == 0 { self.stride.min(self.octets.len()) } else { rest };
    }
}

/// Room for bursts, used again and again.
pub struct Inbox {
    /// The octets of the last receive's bursts.
    pub octets: Room,
    /// What the last receive brought.
    pub bursts: Vec<Burst>,
    names: [libc::sockaddr_in6; BURSTS_MAX],
    controls: Box<[Control]>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            octets: Room::new(BURSTS_MAX * RECEIVE_MAX),
            bursts: Vec::with_capacity(BURSTS_MAX),
            // SAFETY: all-zero `sockaddr_in6`s are valid; they have no references or enums.
            names: unsafe { mem::zeroed() },
            controls: (0..BURSTS_MAX).map(|_| Control([0; CONTROL])).collect(),
        }
    }
}

fn ip_of(name: &libc::sockaddr_in6) -> IpAddr {
    if name.sin6_family == libc::AF_INET6 as libc::sa_family_t {
        IpAddr::V6(Ipv6Addr::from(name.sin6_addr.s6_addr))
    } else {
        // A `sockaddr_in` has its address where a `sockaddr_in6` has its flow information.
        IpAddr::V4(Ipv4Addr::from(name.sin6_flowinfo.to_ne_bytes()))
    }
}

// A control message is a length (of all but its padding), a level, a kind, and its octets, at
// multiples of a word (cmsg(3)). Reading and writing them as octets needs no pointers.
const HEADER: usize = mem::size_of::<libc::cmsghdr>();
const WORD: usize = mem::size_of::<usize>();

/// Append a control message at `at`, and give the octets it took.
fn put_control(control: &mut Control, at: usize, level: i32, kind: i32, value: &[u8]) -> usize {
    let message = &mut control.0[at..];
    message[..WORD].copy_from_slice(&(HEADER + value.len()).to_ne_bytes());
    message[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
    message[WORD + 4..HEADER].copy_from_slice(&kind.to_ne_bytes());
    message[HEADER..HEADER + value.len()].copy_from_slice(value);
    (HEADER + value.len()).next_multiple_of(WORD)
}

fn read_control(mut control: &[u8], burst: &mut Burst) {
    while let Some((length, rest)) = control.split_first_chunk::<WORD>() {
        let length = usize::from_ne_bytes(*length);
        let (Some(level), Some(kind)) = (int(rest, 0), int(rest, 4)) else { return };
        let value = control.get(HEADER..length.min(control.len())).unwrap_or_default();
        match (level, kind) {
            (libc::SOL_UDP, UDP_GRO) => {
                burst.stride = int(value, 0).map_or(burst.stride, |stride| stride.max(1) as usize);
            }
            // Of IPv4 it is one octet, of IPv6 an int; the first octet on a little-endian machine.
            (libc::IPPROTO_IP, libc::IP_TOS) => burst.class = value.first().copied().unwrap_or(0),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                burst.class = int(value, 0).map_or(0, |class| class as u8);
            }
            _ => {}
        }
        control = control.get(length.max(HEADER).next_multiple_of(WORD)..).unwrap_or_default();
    }
}

fn int(octets: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_ne_bytes(*octets.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(local: &str) -> (Socket, Socket, Address) {
        let far = Socket::bind(format!("{local}:0").parse().unwrap(), false).unwrap();
        far.receive_bursts().unwrap();
        let near = Socket::bind(format!("{local}:0").parse().unwrap(), false).unwrap();
        let address = Address::from(far.local().unwrap());
        (near, far, address)
    }

    #[test]
    fn a_burst_is_sent_and_received_as_one() {
        for (local, ip) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")] {
            let (near, far, address) = pair(local);
            let payload: Vec<u8> = (0..2500u32).map(|n| n as u8).collect();
            let pieces = [IoSlice::new(&payload[..700]), IoSlice::new(&payload[700..])];
            assert_eq!(near.send(&pieces, &address, 2, 1000).unwrap(), 2500);
            let mut inbox = Inbox::default();
            far.receive(&mut inbox, BURSTS_MAX).unwrap();
            let burst = &inbox.bursts[0];
            assert_eq!((burst.stride, burst.class, burst.is_truncated), (1000, 2, false));
            assert_eq!(burst.from, ip.parse::<IpAddr>().unwrap());
            assert_eq!(inbox.octets[burst.octets.clone()], payload);
            let nothing = far.receive(&mut inbox, 1).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn several_datagrams_come_in_one_call() {
        let (near, far, address) = pair("127.0.0.1");
        for size in [30, 20, 10] {
            near.send(&[IoSlice::new(&vec![size; size as usize])], &address, 0, 0).unwrap();
        }
        let mut inbox = Inbox::default();
        far.receive(&mut inbox, BURSTS_MAX).unwrap();
        let sizes: Vec<usize> = inbox.bursts.iter().map(|burst| burst.octets.len()).collect();
        assert_eq!(sizes, [30, 20, 10]);
        assert!(inbox.bursts.iter().all(|burst| burst.stride == burst.octets.len()));
    }

    #[test]
    fn a_port_in_use_is_refused_and_may_be_shared() {
        let (_near, far, _) = pair("127.0.0.1");
        let taken = far.local().unwrap();
        assert!(Socket::bind(taken, false).is_err());
        assert!(Socket::bind(taken, true).is_err());
        far.share().unwrap();
        assert!(Socket::bind(taken, true).is_ok());
    }
}
