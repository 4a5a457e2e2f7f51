//! Waiting for several descriptors at once, and waking who waits.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::{checked, octets};

const EVENTS_MAX: usize = 64;

/// An epoll instance: tells which descriptors can be read, each by the number it was added with.
#[derive(Debug)]
pub struct Poll {
    epoll: OwnedFd,
}

impl Poll {
    /// One that waits for nothing yet.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers.
        let epoll = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        Ok(Self { epoll: unsafe { OwnedFd::from_raw_fd(epoll) } })
    }

    /// Tell of `descriptor` as `token` whenever it can be read or has failed.
    pub fn add(&self, descriptor: BorrowedFd, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        self.control(libc::EPOLL_CTL_ADD, descriptor, &mut event)
    }

    /// Tell of `descriptor` no more.
    pub fn remove(&self, descriptor: BorrowedFd) -> io::Result<()> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        self.control(libc::EPOLL_CTL_DEL, descriptor, &mut event)
    }

    fn control(
        &self,
        verb: libc::c_int,
        descriptor: BorrowedFd,
        event: &mut libc::epoll_event,
    ) -> io::Result<()> {
        // SAFETY: both descriptors are open while borrowed, and the kernel copies the event.
        checked(unsafe {
            libc::epoll_ctl(self.epoll.as_raw_fd(), verb, descriptor.as_raw_fd(), event)
        })?;
        Ok(())
    }

    /// Sleep until something is ready or `timeout_ms` are over (-1: for ever), and put the tokens
    /// of what is ready into `ready`.
    pub fn wait(&self, timeout_ms: i32, ready: &mut Vec<u64>) -> io::Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX];
        ready.clear();
        // SAFETY: the pointer and the count are those of one array, exclusively ours.
        let count = checked(unsafe {
            libc::epoll_wait(
                self.epoll.as_raw_fd(),
                events.as_mut_ptr(),
                EVENTS_MAX as libc::c_int,
                timeout_ms,
            )
        });
        match count {
            Ok(count) => ready.extend(events[..count as usize].iter().map(|event| event.u64)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// An eventfd: rung by one thread, heard by another that waits for it.
#[derive(Debug)]
pub struct Bell(OwnedFd);

impl Bell {
    /// One that has not rung.
    pub fn new() -> io::Result<Self> {
        let flags = libc::EFD_CLOEXEC | libc::EFD_NONBLOCK;
        // SAFETY: takes no pointers.
        let bell = checked(unsafe { libc::eventfd(0, flags) })?;
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(bell) }))
    }

    /// Make the descriptor readable. One that rings already needs no second ring.
    pub fn ring(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the pointer and the length are those of one array.
        let _ = unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Make it silent again.
    pub fn hush(&self) {
        let mut count = [0; 8];
        // SAFETY: the pointer and the length are those of one exclusive array.
        let _ = octets(unsafe {
            libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len())
        });
    }

    /// For an event loop that waits for it.
    pub fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// For waiting.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
