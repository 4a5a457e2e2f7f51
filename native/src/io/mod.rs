//! System calls: TAP devices, UDP sockets, waiting, cores. The one place with `unsafe`, but for the choice
//! of vector instructions.

pub mod core;
pub mod poll;
pub mod tap;
pub mod udp;

use std::io;

/// The value of a system call that says -1 for an error.
fn checked(value: libc::c_int) -> io::Result<libc::c_int> {
    if value < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

/// The number of octets of a system call that says -1 for an error.
fn octets(value: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(value).map_err(|_| io::Error::last_os_error())
}
