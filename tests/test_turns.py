"""Verbs of networks are alone; those of endpoints stand beside each other, one for each."""

import asyncio

from vxnet.turns import Turns


class Book:
    """Who came in and went out, in order."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.lines: list[str] = []

    async def of(self, key: str, name: str) -> None:
        async with self.turns.of(key):
            await self._stay(name)

    async def alone(self, name: str) -> None:
        async with self.turns:
            await self._stay(name)

    async def _stay(self, name: str) -> None:
        self.lines.append(f"+{name}")
        for _ in range(3):
            await asyncio.sleep(0)
        self.lines.append(f"-{name}")


async def test_different_endpoints_do_not_wait_for_each_other() -> None:
    book = Book()
    await asyncio.gather(book.of("a", "a1"), book.of("b", "b1"), book.of("a", "a2"))
    assert book.lines[:2] == ["+a1", "+b1"]
    assert book.lines.index("-a1") < book.lines.index("+a2")


async def test_a_network_is_alone_and_comes_before_those_that_come_later() -> None:
    book = Book()
    await asyncio.gather(book.of("a", "a"), book.alone("n"), book.of("b", "b"), book.alone("m"))
    assert book.lines == ["+a", "-a", "+n", "-n", "+b", "-b", "+m", "-m"]


async def test_who_is_cancelled_while_waiting_or_inside_leaves_the_way_free() -> None:
    book = Book()
    inside = asyncio.create_task(book.of("a", "a"))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(book.alone("n"))
    behind = asyncio.create_task(book.of("a", "again"))
    await asyncio.sleep(0)
    for task in (waiting, behind, inside):
        task.cancel()
    await asyncio.gather(inside, waiting, behind, return_exceptions=True)
    await asyncio.wait_for(asyncio.gather(book.alone("m"), book.of("a", "b")), 5.0)
    assert book.lines[-4:] == ["+m", "-m", "+b", "-b"]
