"""TCP streams with digests that go on while something happens, and the places they go between."""

import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from pyroute2 import netns

__all__ = ["Place", "Streams"]

CHUNK = os.urandom(1 << 14)
EVERY_S = 0.01
"""A stream takes its time, so that what is lost was not crowded out."""
PATIENCE_S = 60.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """A network namespace, by a file that stands for it, and an address there."""

    path: Path
    addresses: tuple[str, ...]

    def inside(self, function: Callable[[], T]) -> T:
        """Call a function in a thread that lives there; sockets it makes stay."""
        result: list[T] = []

        def enter() -> None:
            netns.setns(str(self.path), flags=0, fork=False)
            result.append(function())

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        return result[0]

    def socket(self, family: int, kind: int) -> socket.socket:
        """A socket that lives there."""
        return self.inside(lambda: socket.socket(family, kind))


class Streams:
    """TCP streams from one place to another, from `with` to its end; then `intact` is known."""

    def __init__(self, source: Place, target: Place, count: int) -> None:
        self.sent = [hashlib.sha256() for _ in range(count)]
        self.received = [hashlib.sha256() for _ in range(count)]
        self.octets = [0] * count
        self.failures: list[Exception] = []
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []
        address = target.addresses[0]
        listener = target.inside(lambda: socket.create_server((address, 0)))
        with listener:
            listener.settimeout(PATIENCE_S)
            port = listener.getsockname()[1]
            for number in range(count):
                near = source.inside(lambda: socket.create_connection((address, port), PATIENCE_S))
                far, _ = listener.accept()
                far.settimeout(PATIENCE_S)
                for work, end in ((self._send, near), (self._receive, far)):
                    thread = threading.Thread(target=self._run, args=(work, end, number))
                    self._threads.append(thread)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    @property
    def intact(self) -> bool:
        """Whether nothing failed and what arrived is what was sent."""
        return not self.failures and all(
            one.digest() == other.digest()
            for one, other in zip(self.sent, self.received, strict=True)
        )

    def _run(
        self, work: Callable[[socket.socket, int], None], end: socket.socket, number: int
    ) -> None:
        try:
            with end:
                work(end, number)
        except OSError as error:
            self.failures.append(error)

    def _send(self, end: socket.socket, number: int) -> None:
        while not self._ending.is_set():
            end.sendall(CHUNK)
            self.sent[number].update(CHUNK)
            time.sleep(EVERY_S)
        end.shutdown(socket.SHUT_WR)

    def _receive(self, end: socket.socket, number: int) -> None:
        while data := end.recv(1 << 16):
            self.received[number].update(data)
            self.octets[number] += len(data)
