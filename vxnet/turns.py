"""Whose turn it is: one verb of networks alone, or verbs of several endpoints at the same time."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from types import TracebackType
from weakref import WeakValueDictionary

__all__ = ["Turns"]


class Turns:
    """`async with turns` is alone; `async with turns.of(key)` is beside those of other keys.

    Who waits to be alone comes before those that come later. Not to be taken within itself.
    """

    def __init__(self) -> None:
        self._door = asyncio.Lock()
        self._empty = asyncio.Event()
        self._empty.set()
        self._inside = 0
        self._keys: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    async def __aenter__(self) -> None:
        await self._door.acquire()
        try:
            await self._empty.wait()
        except BaseException:
            self._door.release()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._door.release()

    @asynccontextmanager
    async def of(self, key: Hashable) -> AsyncIterator[None]:
        """A turn beside those of other keys."""
        lock = self._keys.setdefault(key, asyncio.Lock())
        async with lock:
            async with self._door:
                self._inside += 1
                self._empty.clear()
            try:
                yield
            finally:
                self._inside -= 1
                if not self._inside:
                    self._empty.set()
