"""A steady beat of numbered datagrams from one station to another, and when each arrived."""

import socket
import struct
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from vxnet.demo.station import Station

NUMBER = struct.Struct("!Q")


class Pulse:
    """Beats from `with` to its end; `grace_s` later it stops listening."""

    def __init__(
        self, source: Station, target: Station, *, every_s: float = 0.01, grace_s: float = 1.0
    ) -> None:
        self.sent: list[float] = []
        self.arrived: dict[int, float] = {}
        self._every_s = every_s
        self._grace_s = grace_s
        self._ear = target.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._ear.bind((target.addresses[0], 0))
        self._ear.settimeout(0.1)
        self._mouth = source.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._to = self._ear.getsockname()
        self._ended, self._deaf = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._beat, self._listen)]

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
        self._ended.set()
        time.sleep(self._grace_s)
        self._deaf.set()
        for thread in self._threads:
            thread.join()
        self._ear.close()
        self._mouth.close()

    @property
    def lost(self) -> list[int]:
        """The beats that never arrived."""
        return [number for number in range(len(self.sent)) if number not in self.arrived]

    @property
    def longest_delay_s(self) -> float:
        """How long the slowest beat took that did arrive."""
        return max(at - self.sent[number] for number, at in self.arrived.items())

    def first_after(self, moment: float) -> float | None:
        """When the first beat arrived that was sent after a moment, if one did yet."""
        times = [at for number, at in list(self.arrived.items()) if self.sent[number] > moment]
        return min(times, default=None)

    def _beat(self) -> None:
        while not self._ended.wait(self._every_s):
            self.sent.append(time.monotonic())
            with suppress(OSError):  # a device that is down takes nothing
                self._mouth.sendto(NUMBER.pack(len(self.sent) - 1), self._to)

    def _listen(self) -> None:
        while not self._deaf.is_set():
            with suppress(TimeoutError):
                (number,) = NUMBER.unpack(self._ear.recv(64))
                self.arrived[number] = time.monotonic()
