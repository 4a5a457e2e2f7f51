"""Stands at the plugin's socket whether the daemon runs or not: passes calls on, or refuses them.

dockerd asks a plugin that does not answer again and again, for 15 s a call, and when it starts it
does so for one endpoint after the other before it serves anybody. A refusal costs it nothing.

Run as `python -m vxnet.docker.porter DAEMON [SOCKET]`: where the daemon listens, and where dockerd
asks. Without SOCKET, systemd gives one.
"""

import asyncio
import logging
import signal
import socket
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp import web

from vxnet.docker.answers import BODY_BYTES_MAX, NOBODY, refuse
from vxnet.errors import ConfigError, VxnetError
from vxnet.host import systemd
from vxnet.host.unix import listen

__all__ = ["Porter"]

PATIENCE_S: Final = 2.0
"""As long as a restart takes: after a daemon has gone, calls wait so long for the next one."""
RETRY_S: Final = 0.05
ANSWERS_WITHIN_S: Final = 30.0
"""Longer than the unit's watchdog needs for a daemon that stands still."""


_log = logging.getLogger(__name__)


class Porter:
    """Answers on one socket for the daemon that listens at another."""

    def __init__(self, daemon: Path, *, patience_s: float = PATIENCE_S) -> None:
        self._daemon = daemon
        self._patience_s = patience_s
        self._there = asyncio.Event()
        self._gone_at = asyncio.get_running_loop().time()

    async def serve(self, listener: socket.socket, stack: AsyncExitStack) -> None:
        """Answer until the stack ends."""
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(str(self._daemon), limit=0, force_close=True)
            )
        )
        watch = asyncio.create_task(self._watch())
        stack.push_async_callback(_end, watch)

        async def answer(request: web.Request) -> web.Response:
            return await self._answer(session, request.path, await request.read())

        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_post("/{call}", answer)
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.SockSite(runner, listener).start()

    async def _watch(self) -> None:
        """Hold a connection that nothing is said on: it ends with the daemon."""
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._daemon)
            except OSError:
                await asyncio.sleep(RETRY_S)
                continue
            _log.warning("the daemon is there")
            self._there.set()
            try:
                with suppress(OSError):
                    await reader.read()
            finally:
                writer.close()
            self._there.clear()
            self._gone_at = asyncio.get_running_loop().time()
            _log.warning("the daemon is gone")

    async def _answer(self, session: aiohttp.ClientSession, path: str, body: bytes) -> web.Response:
        try:
            async with asyncio.timeout(ANSWERS_WITHIN_S):
                while True:
                    there = await self._is_there()
                    try:
                        # Where it is not, too: one that has just come is seen a moment later.
                        return await _ask(session, path, body)
                    except (aiohttp.ClientError, OSError):
                        if not there:
                            return refuse(NOBODY, 503)
                        # Every call may come twice: what a daemon died of, the next one is asked.
                        await asyncio.sleep(RETRY_S)
        except TimeoutError:
            return refuse(f"vxnet has not answered for {ANSWERS_WITHIN_S:.0f} s; see its log", 503)

    async def _is_there(self) -> bool:
        """Whether there is a daemon, or one comes while it is worth waiting."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._gone_at + self._patience_s):
                await self._there.wait()
        return self._there.is_set()


async def _ask(session: aiohttp.ClientSession, path: str, body: bytes) -> web.Response:
    async with session.post(f"http://vxnet{path}", data=body) as found:
        said = await found.read()
        return web.Response(body=said, status=found.status, content_type=found.content_type)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _run(daemon: Path, listener: socket.socket) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        await Porter(daemon).serve(listener, stack)
        systemd.notify("READY=1")
        await stop.wait()


def _given() -> socket.socket:
    found = systemd.kept()
    if len(found) != 1:
        raise ConfigError(f"systemd gave {len(found)} sockets, one is needed")
    return socket.socket(fileno=found[0][1])


def _main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python -m vxnet.docker.porter DAEMON [SOCKET]")
    logging.basicConfig(format="%(message)s")
    try:
        listener = listen(Path(sys.argv[2]), "SOCKET") if len(sys.argv) == 3 else _given()
        asyncio.run(_run(Path(sys.argv[1]), listener))
    except VxnetError as error:
        sys.exit(f"vxnet: {error}")


if __name__ == "__main__":
    _main()
