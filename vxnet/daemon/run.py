"""The daemon from its first line to its last: loop, signals, reload, shutdown."""

import asyncio
import itertools
import logging
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import uvloop

import vxnet
from vxnet.cnm.model import Endpoint
from vxnet.config import RELOADABLE, Settings, differences, load
from vxnet.daemon.build import Daemon, build
from vxnet.daemon.heartbeat import beat
from vxnet.daemon.journal import set_up_logging
from vxnet.errors import ConfigError, VxnetError
from vxnet.gossip.events import MemberState
from vxnet.host.privileges import check_privileges, raise_descriptor_limit
from vxnet.host.systemd import notify

__all__ = ["run"]

TEND_EVERY_S = 1.0
LOOK_AROUND_EVERY_S = 60.0
RESTART = signal.SIGUSR1
"""Ends the daemon as SIGTERM does, but for another to go on at once (RestartKillSignal=)."""
PROBE_EVERY_S = 0.1
STRANGERS_EVERY = 10
"""Seconds between looks at who sends without being a peer."""


_log = logging.getLogger(__name__)


def run(path: Path, settings: Settings, plugin: socket.socket | None = None) -> None:
    """Run until SIGTERM or SIGINT. Raises VxnetError where it cannot start.

    `plugin` listens at `docker.socket` already.
    """
    set_up_logging(settings.log.level, settings.log.format)
    check_privileges()
    raise_descriptor_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(path, settings, plugin))


async def _serve(path: Path, settings: Settings, plugin: socket.socket | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _end, stop)
    restart = asyncio.Event()
    loop.add_signal_handler(RESTART, _end, stop, restart)
    async with AsyncExitStack() as stack:
        daemon = await build(settings, stack, plugin)
        reload = asyncio.Event()
        loop.add_signal_handler(signal.SIGHUP, reload.set)
        async with asyncio.TaskGroup() as tasks:
            work = [
                tasks.create_task(daemon.convergence.run(_report)),
                tasks.create_task(daemon.pools.run(_report)),
                tasks.create_task(daemon.guard.run(_report, _restored)),
                tasks.create_task(_tend(daemon)),
                tasks.create_task(_look_around(daemon)),
                tasks.create_task(_find_paths(daemon)),
                *(tasks.create_task(work) for work in daemon.naming.work(_report)),
                tasks.create_task(_reload(path, settings, daemon, reload)),
            ]
            if daemon.steward is not None:
                work.append(tasks.create_task(daemon.steward.run(_report)))
            _log.info(
                "ready",
                {
                    "version": vxnet.__version__,
                    "name": settings.node.name,
                    "vtep": daemon.identity.vtep,
                    "datapath": daemon.datapath.name,
                    "because": daemon.identity.datapath_reason,
                    "socket": settings.node.socket,
                    "pid": os.getpid(),
                },
            )
            notify("READY=1")
            work.append(tasks.create_task(beat(partial(_status, daemon))))
            await stop.wait()
            notify("STOPPING=1")
            _log.info("stopping", {"endpoints": sum(1 for _ in daemon.endpoints)})
            for task in work:
                task.cancel()
        if restart.is_set():
            await daemon.handover.leave()
    _log.info("stopped")


def _end(stop: asyncio.Event, restart: asyncio.Event | None = None) -> None:
    """The first signal asks for an orderly end, the second one does not wait for it."""
    if stop.is_set():
        sys.stderr.write("ended at once; peers will notice by themselves\n")
        os._exit(1)
    if restart is not None:
        restart.set()
    stop.set()


async def _tend(daemon: Daemon) -> None:
    """Look after what nobody tells us of: sandboxes that come back, rules that go."""
    for second in itertools.count(1):
        await asyncio.sleep(TEND_EVERY_S)
        if second % STRANGERS_EVERY == 0:
            daemon.journal.meet(daemon.datapath.stats().strangers)
        await daemon.recoverer.tend(_report)
        await daemon.naming.resolvers.tend()
        try:
            if await daemon.bridge.restore():
                _log.warning("somebody changed our packet filter rules; they are back")
        except VxnetError as error:
            _report(error)


async def _look_around(daemon: Daemon) -> None:
    """Tell the others which subnets are in use here; routes come and go."""
    while True:
        await daemon.surroundings.tend(_report)
        await asyncio.sleep(LOOK_AROUND_EVERY_S)


async def _find_paths(daemon: Daemon) -> None:
    """Probe what the ways to the other hosts carry."""
    loop = asyncio.get_running_loop()
    peers_due = 0.0
    while True:
        now = loop.time()
        if now >= peers_due:
            daemon.tend_paths(now)
            peers_due = now + TEND_EVERY_S
        daemon.paths.tick(now)
        await asyncio.sleep(PROBE_EVERY_S)


async def _reload(path: Path, settings: Settings, daemon: Daemon, asked: asyncio.Event) -> None:
    """Apply what can change while running, each time SIGHUP asks."""
    while True:
        await asked.wait()
        asked.clear()
        try:
            # A file of some lines, read once in a while at an operator's request.
            wanted = await asyncio.to_thread(load, path)
        except ConfigError as error:
            for problem in str(error).splitlines():
                _log.error("settings not reloaded", {"problem": problem})
            continue
        changed = set(differences(settings, wanted))
        for key in sorted(changed - RELOADABLE):
            _log.warning("setting changes at the next restart", {"key": key})
        if "log.level" in changed:
            set_up_logging(wanted.log.level, settings.log.format)
        try:
            await daemon.apply(wanted, changed & RELOADABLE)
        except VxnetError as error:
            _report(error)
        settings = wanted
        applied = ",".join(sorted(changed & RELOADABLE)) or "nothing"
        _log.info("settings reloaded", {"changed": applied})


def _status(daemon: Daemon) -> str:
    """A line for `systemctl status`."""
    members = daemon.control.members()
    others = sum(not m.local and m.state is MemberState.ALIVE for m in members)
    endpoints = sum(1 for _ in daemon.endpoints)
    return f"{endpoints} endpoints, {others} other hosts, {daemon.datapath.name} datapath"


def _restored(endpoint: Endpoint, found: list[str]) -> None:
    _log.warning(
        "somebody changed a device; it is as it was",
        {"endpoint": endpoint.name, "sandbox": endpoint.sandbox, "what": ", ".join(found)},
    )


def _report(error: VxnetError) -> None:
    _log.warning("not done", {"reason": error})
