"""The porter before a daemon that comes, goes, and dies in the middle of a call."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from time import monotonic

import aiohttp
import msgspec
import pytest
from aiohttp import web

from vxnet.docker.answers import NOBODY
from vxnet.docker.porter import Porter
from vxnet.host.unix import listen

PATIENCE_S = 1.0


class Scene:
    """A porter, and where a daemon may listen."""

    def __init__(self, directory: Path) -> None:
        self.daemon = directory / "daemon.sock"
        self.front = directory / "front.sock"
        self.asked: list[tuple[str, bytes]] = []
        self._site: AsyncExitStack | None = None

    async def begin(self) -> None:
        """Have a daemon."""

        async def answer(request: web.Request) -> web.Response:
            self.asked.append((request.path, await request.read()))
            return web.json_response({"Err": "no such network"}, status=400)

        app = web.Application()
        app.router.add_post("/{call}", answer)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        await web.SockSite(runner, listen(self.daemon, "daemon")).start()
        self._site = AsyncExitStack()
        self._site.callback(self.daemon.unlink)
        self._site.push_async_callback(runner.cleanup)

    async def end(self) -> None:
        """The daemon ends."""
        if self._site is not None:
            site, self._site = self._site, None
            await site.aclose()

    async def call(self, name: str, body: bytes = b"{}") -> tuple[int, str]:
        """What dockerd is told."""
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self.front))) as session,
            session.post(f"http://plugin/{name}", data=body) as answer,
        ):
            return answer.status, msgspec.json.decode(await answer.read())["Err"]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    scene = Scene(tmp_path)
    async with AsyncExitStack() as stack:
        porter = Porter(scene.daemon, patience_s=PATIENCE_S)
        await porter.serve(listen(scene.front, "front"), stack)
        stack.push_async_callback(scene.end)
        yield scene


async def test_calls_and_answers_are_passed_on_as_they_are(scene: Scene) -> None:
    await scene.begin()
    assert await scene.call("NetworkDriver.Join", b'{"a": 1}') == (400, "no such network")
    assert scene.asked == [("/NetworkDriver.Join", b'{"a": 1}')]


async def test_without_a_daemon_calls_are_refused_at_once(scene: Scene) -> None:
    assert await scene.call("IpamDriver.RequestPool") == (503, NOBODY)  # this one waited
    began = monotonic()
    for _ in range(10):
        assert await scene.call("IpamDriver.RequestPool") == (503, NOBODY)
    assert monotonic() - began < PATIENCE_S


async def test_a_daemon_that_comes_soon_gets_the_call(scene: Scene) -> None:
    calling = asyncio.create_task(scene.call("NetworkDriver.Join"))
    await asyncio.sleep(PATIENCE_S / 4)
    assert not calling.done()
    await scene.begin()
    assert await calling == (400, "no such network")


async def test_a_daemon_that_has_just_come_gets_the_call_at_once(scene: Scene) -> None:
    assert await scene.call("NetworkDriver.Join") == (503, NOBODY)
    await scene.begin()
    assert await scene.call("NetworkDriver.Join") == (400, "no such network")


async def test_what_a_daemon_died_of_the_next_one_is_asked(scene: Scene) -> None:
    heard = asyncio.Event()
    open_ones: list[asyncio.StreamWriter] = []

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.append(writer)
        if await reader.read(1 << 16):
            heard.set()

    dying = await asyncio.start_unix_server(die, scene.daemon)
    calling = asyncio.create_task(scene.call("NetworkDriver.Join", b'{"a": 1}'))
    await heard.wait()
    dying.close()
    for writer in open_ones:
        writer.close()
        await writer.wait_closed()
    await scene.begin()
    assert await calling == (400, "no such network")
    assert scene.asked == [("/NetworkDriver.Join", b'{"a": 1}')]
