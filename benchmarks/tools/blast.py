"""Small datagrams as fast as they go: `blast.py receive` and `blast.py send ADDRESS`.

Python never sees a datagram: one `sendmmsg` or `recvmmsg` carries sixty-four of them, through
ctypes, from and to buffers laid out once. So the tool costs what the system calls cost, and is not
what limits the overlay. Each datagram is a send of its own for the kernel: no segmentation offload.
Both parts print one JSON document.
"""

import argparse
import ctypes
import errno
import json
import os
import socket
import sys
import time

PORT = 5302
BATCH = 64
MSG_WAITFORONE = 0x10000
SO_RCVBUFFORCE = 33
QUIET_S = 0.5  # after this long without a datagram the receiver takes it that all have come


class IoVec(ctypes.Structure):
    """`struct iovec`."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class MsgHdr(ctypes.Structure):
    """`struct msghdr`."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(IoVec)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class MMsgHdr(ctypes.Structure):
    """`struct mmsghdr`."""

    _fields_ = (("header", MsgHdr), ("length", ctypes.c_uint))


class Batch:
    """Sixty-four messages of one size, ready to be given to the kernel again and again."""

    def __init__(self, size: int) -> None:
        self.messages = (MMsgHdr * BATCH)()
        self._buffers = (ctypes.c_char * (size * BATCH))()
        self._vectors = (IoVec * BATCH)()
        start = ctypes.addressof(self._buffers)
        for number in range(BATCH):
            self._vectors[number] = IoVec(start + number * size, size)
            header = self.messages[number].header
            header.vectors = ctypes.pointer(self._vectors[number])
            header.vector_count = 1


libc = ctypes.CDLL(None, use_errno=True)


def send(sock: socket.socket, address: str, size: int, seconds: float) -> dict[str, float]:
    """Send until the time is over."""
    sock.connect((address, PORT))
    batch = Batch(size)
    sent = 0
    start = time.perf_counter()
    deadline = start + seconds
    while (now := time.perf_counter()) < deadline:
        count = libc.sendmmsg(sock.fileno(), batch.messages, BATCH, 0)
        if count > 0:
            sent += count
        elif (code := ctypes.get_errno()) not in (errno.ENOBUFS, errno.EAGAIN, errno.EINTR):
            raise OSError(code, os.strerror(code))
    return {"sent": sent, "seconds": now - start}


def receive(sock: socket.socket) -> dict[str, float]:
    """Count until the datagrams stop; the time runs from the first one to the last."""
    batch = Batch(2048)
    received = 0
    first = last = 0.0
    while True:
        count = libc.recvmmsg(sock.fileno(), batch.messages, BATCH, MSG_WAITFORONE, None)
        if count > 0:
            received += count
            last = time.perf_counter()
            first = first or last
        elif (code := ctypes.get_errno()) == errno.EAGAIN:
            if received:
                return {"received": received, "seconds": last - first}
        elif code != errno.EINTR:
            raise OSError(code, os.strerror(code))


def main() -> int:
    """Read the command line and play the part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    parts.add_parser("receive")
    sender = parts.add_parser("send")
    sender.add_argument("address")
    sender.add_argument("--size", type=int, default=64)
    sender.add_argument("--seconds", type=float, default=2.0)
    words = parser.parse_args()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        if words.part == "send":
            print(json.dumps(send(sock, words.address, words.size, words.seconds)))
            return 0
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        # struct timeval: the wait for the first datagram, and the quiet that means the end.
        timeout = ctypes.c_long(0), ctypes.c_long(int(QUIET_S * 1e6))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, b"".join(map(bytes, timeout)))
        sock.bind(("", PORT))
        print("ready", flush=True)
        print(json.dumps(receive(sock)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
