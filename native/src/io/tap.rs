//! Frames of an endpoint: one read gives one, one write takes one, each behind its
//! `virtio_net_hdr`.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::{checked, octets};

/// One queue of a link. Closed when dropped; the link's own descriptor stays the link's.
#[derive(Debug)]
pub struct Queue(OwnedFd);

impl Queue {
    /// Another descriptor for the queue behind `descriptor`, so that no worker ever touches a
    /// number that has become some other file's.
    pub fn duplicate(descriptor: RawFd) -> io::Result<Self> {
        // SAFETY: takes no pointers; a number that is no descriptor is refused by the kernel.
        let copy = checked(unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 0) })?;
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(copy) }))
    }

    /// The next frame, into the start of `room`. `WouldBlock` where there is none.
    pub fn read(&self, room: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the pointer and the length are those of one exclusive slice.
        octets(unsafe { libc::read(self.0.as_raw_fd(), room.as_mut_ptr().cast(), room.len()) })
    }

    /// Give one frame, gathered from its pieces. `WouldBlock` where the queue is full.
    pub fn write(&self, pieces: &[IoSlice]) -> io::Result<usize> {
        let count = pieces.len().min(libc::UIO_MAXIOV as usize) as libc::c_int;
        // SAFETY: `IoSlice` has the layout of `iovec` (its documentation promises it), and the
        // borrow keeps what the pieces point to alive during the call.
        octets(unsafe { libc::writev(self.0.as_raw_fd(), pieces.as_ptr().cast(), count) })
    }

    /// For waiting.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.0)
    }
}
