"""Several hosts' frames as one stream, in the order of their times."""

import heapq
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from vxnet.api.seen import SightView
from vxnet.errors import VxnetError

__all__ = ["Merge", "Source"]

Source = Callable[[str | None, int, Callable[[], None]], Iterator[SightView]]
"""`Client.capture`: network, octets to keep, and what to call once no frame escapes."""

HOLD_S: Final = 0.3
"""How long a frame waits for an older one that is still on its way from another host."""

WAITING_MAX: Final = 10_000


class Merge:
    """Iterates over the frames of all sources, a thread each. Raises what the first one raised."""

    def __init__(
        self,
        sources: Sequence[Source],
        network: str | None,
        snap: int,
        begun: Callable[[], None],
    ) -> None:
        """`begun` is called for each source once no frame of its escapes."""
        self._sources = sources
        self._network = network
        self._snap = snap
        self._begun = begun
        self._arrived: queue.Queue[SightView | VxnetError | None] = queue.Queue(WAITING_MAX)

    def __iter__(self) -> Iterator[SightView]:
        for source in self._sources:
            # They wait for frames for ever, so they end with the process.
            threading.Thread(target=self._read, args=(source,), daemon=True).start()
        return self._one() if len(self._sources) == 1 else self._many()

    def _read(self, source: Source) -> None:
        try:
            for view in source(self._network, self._snap, self._begun):
                self._arrived.put(view)
        except VxnetError as error:
            self._arrived.put(error)
        else:
            self._arrived.put(None)

    def _one(self) -> Iterator[SightView]:
        while (view := self._arrived.get()) is not None:
            if isinstance(view, VxnetError):
                raise view
            yield view

    def _many(self) -> Iterator[SightView]:
        heap: list[tuple[int, int, float, SightView]] = []
        left, number = len(self._sources), 0
        while left or heap:
            patience = heap[0][2] + HOLD_S - time.monotonic() if heap else None
            try:
                view = self._arrived.get(timeout=None if patience is None else max(0.0, patience))
            except queue.Empty:
                yield heapq.heappop(heap)[3]
                continue
            match view:
                case VxnetError():
                    raise view
                case None:
                    left -= 1
                    if not left:
                        yield from (entry[3] for entry in sorted(heap))
                        return
                case _:
                    number += 1
                    heapq.heappush(heap, (view.at_ns, number, time.monotonic(), view))
