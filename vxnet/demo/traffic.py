"""Traffic between stations: pings, a TCP stream with digests, UDP, broadcast.

The sockets live in the stations' sandboxes; the threads that use them need not.
"""

import hashlib
import os
import re
import selectors
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from vxnet.demo.station import Station

__all__ = ["Transfer", "exchange", "ping", "rate", "shout", "transfer"]

CHUNK_BYTES = 1 << 20
SECOND_COPY_S = 0.2
T = TypeVar("T")

TIME = re.compile(r"time[=<]([0-9.]+) ms")


@dataclass(frozen=True, slots=True)
class Transfer:
    """A TCP stream as both ends saw it; the digests are SHA-256."""

    sent_bytes: int
    received_bytes: int
    sent_digest: str
    received_digest: str
    seconds: float

    @property
    def intact(self) -> bool:
        """Whether what arrived is what was sent."""
        return self.sent_bytes == self.received_bytes and self.sent_digest == self.received_digest

    @property
    def gigabits_per_second(self) -> float:
        """How fast it went, by the receiver's clock."""
        return self.received_bytes * 8 / self.seconds / 1e9


def ping(source: Station, address: str, *, count: int = 1, wait_s: int = 3) -> float | None:
    """The shortest round trip in milliseconds, or None where nothing came back."""
    command = ["ping", "-n", "-c", str(count), "-i", "0.2", "-W", str(wait_s), address]
    done = source.sandbox.run(command, check=False, timeout_s=count + wait_s + 10)
    times = [float(t) for t in TIME.findall(done.stdout)]
    return min(times, default=None)


def transfer(
    source: Station, target: Station, address: str, size_bytes: int, *, timeout_s: float = 60.0
) -> Transfer:
    """Send a stream of random octets. Raises OSError where the network fails meanwhile."""
    with _stream(source, target, address, timeout_s, _receive) as (sender, receiving):
        sent_bytes, sent_digest = _send(sender, size_bytes)
        received_bytes, received_digest, seconds = receiving.result()
    return Transfer(sent_bytes, received_bytes, sent_digest, received_digest, seconds)


def rate(source: Station, target: Station, address: str, seconds: float) -> float:
    """How fast one TCP stream is whose ends do nothing else, in Gbit/s that arrived."""
    with _stream(source, target, address, seconds + 30, _count) as (sender, counting):
        chunk, until = bytes(CHUNK_BYTES), time.monotonic() + seconds
        while time.monotonic() < until:
            sender.sendall(chunk)
        sender.shutdown(socket.SHUT_WR)
        received, took = counting.result()
    return received * 8 / took / 1e9


def exchange(
    source: Station,
    target: Station,
    address: str,
    sizes: Iterable[int],
    *,
    timeout_s: float = 3.0,
) -> tuple[int, int]:
    """Send datagrams of these sizes one by one and have each echoed: how many, how many intact."""
    family = _family(address)
    sent = intact = 0
    with (
        target.socket(family, socket.SOCK_DGRAM) as echo,
        source.socket(family, socket.SOCK_DGRAM) as asker,
        ThreadPoolExecutor(1, thread_name_prefix="echo") as pool,
    ):
        echo.bind((address, 0))
        echo.settimeout(timeout_s)
        asker.settimeout(timeout_s)
        asker.connect((address, echo.getsockname()[1]))
        answering = pool.submit(_echo, echo)
        for size in sizes:
            datagram = os.urandom(size)
            asker.send(datagram)
            sent += 1
            try:
                intact += asker.recv(65_535) == datagram
            except TimeoutError:
                continue
        asker.send(b"")  # an empty datagram ends the echo
        answering.result()
    return sent, intact


def shout(
    source: Station, listeners: Sequence[Station], family: int, *, wait_s: float = 3.0
) -> Counter[str]:
    """Broadcast (IPv4) or multicast to all nodes (IPv6): labels of who heard it, how many times.

    Ends after `wait_s`, or a moment after everybody heard it: the moment is for second copies.
    """
    text = os.urandom(16)
    heard: Counter[str] = Counter()
    with ExitStack() as stack, selectors.DefaultSelector() as ears:
        port = 0
        for station in listeners:
            ear = stack.enter_context(station.socket(family, socket.SOCK_DGRAM))
            ear.bind(("", port))
            port = ear.getsockname()[1]
            ears.register(ear, selectors.EVENT_READ, (ear, station.label))
        mouth = stack.enter_context(source.socket(family, socket.SOCK_DGRAM))
        if family == socket.AF_INET:
            mouth.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            mouth.sendto(text, (str(source.ipv4.network.broadcast_address), port))
        else:
            mouth.sendto(text, ("ff02::1", port, 0, source.scope()))
        deadline = time.monotonic() + wait_s
        while (left_s := deadline - time.monotonic()) > 0:
            for key, _ in ears.select(left_s):
                ear, label = key.data
                heard[label] += ear.recv(64) == text
            if len(heard) == len(listeners):
                deadline = min(deadline, time.monotonic() + SECOND_COPY_S)
    return +heard


@contextmanager
def _stream(
    source: Station,
    target: Station,
    address: str,
    timeout_s: float,
    receive: Callable[[socket.socket, float], T],
) -> Iterator[tuple[socket.socket, Future[T]]]:
    """A connected socket, and what `receive` makes of a listening one at the other end."""
    family = _family(address)
    # The sockets go before the thread is waited for, so that Ctrl-C does not wait for its timeout.
    with (
        ThreadPoolExecutor(1, thread_name_prefix="receive") as pool,
        target.socket(family, socket.SOCK_STREAM) as listener,
        source.socket(family, socket.SOCK_STREAM) as sender,
        ExitStack() as stack,
    ):
        stack.callback(listener.shutdown, socket.SHUT_RDWR)  # which wakes who waits in accept
        for end in (listener, sender):
            end.settimeout(timeout_s)
        listener.bind((address, 0))
        listener.listen(1)
        receiving = pool.submit(receive, listener, timeout_s)
        sender.connect((address, listener.getsockname()[1]))
        yield sender, receiving


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _send(sender: socket.socket, size_bytes: int) -> tuple[int, str]:
    """No two chunks are alike, so one lost, doubled or out of order changes the digest."""
    digest, noise, sent = hashlib.sha256(), bytearray(os.urandom(CHUNK_BYTES)), 0
    while sent < size_bytes:
        struct.pack_into("!Q", noise, 0, sent)
        chunk = memoryview(noise)[: size_bytes - sent]
        digest.update(chunk)
        sender.sendall(chunk)
        sent += len(chunk)
    sender.shutdown(socket.SHUT_WR)
    return sent, digest.hexdigest()


def _receive(listener: socket.socket, timeout_s: float) -> tuple[int, str, float]:
    digest, buffer, received = hashlib.sha256(), bytearray(CHUNK_BYTES), 0
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(timeout_s)
        started = time.monotonic()
        while size := connection.recv_into(buffer):
            digest.update(memoryview(buffer)[:size])
            received += size
        return received, digest.hexdigest(), max(time.monotonic() - started, 1e-9)


def _count(listener: socket.socket, timeout_s: float) -> tuple[int, float]:
    buffer, received = bytearray(CHUNK_BYTES), 0
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(timeout_s)
        started = time.monotonic()
        while size := connection.recv_into(buffer):
            received += size
        return received, max(time.monotonic() - started, 1e-9)


def _echo(echo: socket.socket) -> None:
    while True:
        try:
            datagram, source = echo.recvfrom(65_535)
        except TimeoutError:
            return
        if not datagram:
            return
        echo.sendto(datagram, source)
