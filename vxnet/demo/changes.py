"""The checks of a cluster that changes: a station moves to another host, a host dies."""

import os
import re
import tempfile
import time
from typing import IO

from vxnet.demo.checks import MAIN
from vxnet.demo.report import Finding
from vxnet.demo.stage import Check, Stage

__all__ = ["CHECKS"]

PING_EVERY_S = 0.02
FOLLOWS_WITHIN_S = 2.0
GONE_WITHIN_S = 20.0
ANSWER = re.compile(rb"^\[([0-9.]+)\] .* time[=<]", re.MULTILINE)


def station_moved(stage: Stage) -> Finding:
    """A station goes from one host to another with its addresses; traffic to it follows."""
    daemons = stage.cluster.daemons
    watcher, old_home, new_home = stage.stations[0], daemons[1], daemons[2 % len(daemons)]
    wanderer = old_home.attach(MAIN, name="wanderer")
    ping = ["ping", "-n", "-D", "-i", str(PING_EVERY_S), wanderer.addresses[0]]
    with tempfile.TemporaryFile() as output:
        pinging = watcher.sandbox.popen(ping, stdout=output)
        before = _wait_for_answer(output, since=time.time())
        old_home.detach(wanderer)
        detached = time.time()
        wanderer = new_home.attach(MAIN, name="wanderer", like=wanderer)
        attached = time.time()
        followed = _wait_for_answer(output, since=detached)
        pinging.terminate()
        pinging.wait()
    if before is None or followed is None:
        when = "before" if before is None else f"within {GONE_WITHIN_S:g} s after"
        return Finding(False, f"{wanderer.addresses[0]} did not answer {when} the move")
    seconds = max(0.0, followed - attached)
    return Finding(
        seconds <= FOLLOWS_WITHIN_S,
        f"{wanderer.addresses[0]} moved from {old_home.host.label} to {new_home.host.label}; "
        f"traffic followed {seconds * 1000:.0f} ms after it was attached there, "
        f"{(followed - detached) * 1000:.0f} ms after it was detached here",
        {"seconds_until_followed": seconds, "seconds_away": followed - detached},
    )


def host_killed(stage: Stage) -> Finding:
    """A daemon is killed without a goodbye; the others forget what was behind it."""
    *others, victim = stage.cluster.daemons
    known = [d.host.label for d in others if d.rows_behind(victim.vtep)]
    started = time.monotonic()
    victim.kill()
    seconds: dict[str, float] = {}
    while len(seconds) < len(others) and time.monotonic() - started < GONE_WITHIN_S:
        for daemon in others:
            if daemon.host.label not in seconds and not daemon.rows_behind(victim.vtep):
                seconds[daemon.host.label] = time.monotonic() - started
        time.sleep(0.1)
    remembering = [d.host.label for d in others if d.host.label not in seconds]
    seen = (
        f"{victim.host.label} killed; its entries were gone everywhere after "
        f"{max(seconds.values(), default=0.0):.1f} s"
        if not remembering
        else f"{victim.host.label} killed; {', '.join(remembering)} remembered it after "
        f"{GONE_WITHIN_S:g} s"
    )
    if len(known) < len(others):
        seen += f"; before it, only {len(known)} of {len(others)} hosts knew its entries"
    return Finding(
        not remembering and len(known) == len(others), seen, {"seconds_until_gone": seconds}
    )


def _wait_for_answer(output: IO[bytes], since: float) -> float | None:
    """When the first answer after `since` came, by ping's own clock; None where none comes."""
    deadline = time.monotonic() + GONE_WITHIN_S
    at, tail = 0, b""
    while time.monotonic() < deadline:
        # The child writes at this very descriptor's position, so it is read without moving it.
        fresh = os.pread(output.fileno(), 1 << 16, at)
        at, tail = at + len(fresh), tail + fresh
        lines, tail = tail[: tail.rfind(b"\n") + 1], tail[tail.rfind(b"\n") + 1 :]
        for stamp in ANSWER.findall(lines):
            if float(stamp) >= since:
                return float(stamp)
        time.sleep(PING_EVERY_S / 2)
    return None


CHECKS = (
    Check("move", "An endpoint moves to another host", station_moved),
    Check("kill", "A host dies", host_killed),
)
