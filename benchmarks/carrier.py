"""A datapath without a control plane: `python -m benchmarks.carrier`, one on each host.

It serves one TAP in the first of several networks, and its forwarding table holds as many further
entries as it is told, spread over all networks, all behind a VTEP that nobody talks to. It prints
one JSON document when it is ready: how long the entries took to be programmed, and how much memory
the process grew by. SIGUSR1 has all of them replaced, batch after batch, while traffic goes on.
"""

import argparse
import asyncio
import json
import resource
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import uvloop

from vxnet.datapath.base import Change, Datapath, Peer, Port, Segment, SetEntry, SetPeers
from vxnet.datapath.select import select
from vxnet.link.tap import Tap
from vxnet.switch.actions import PortId
from vxnet.wire.addr import Ip, Mac, Vni, Vtep, parse_ip

__all__ = ["DEVICE", "PORT", "changes", "main"]

DEVICE = "tap0"
PORT = 4789
FIRST_VNI = 100
BATCH = 1000  # entries a call, as gossip's driver brings them: the loop is free in between
NOBODY = (parse_ip("192.0.2.250"), parse_ip("192.0.2.251"))


def changes(entries: int, networks: int, vtep: Ip) -> Iterator[list[Change]]:
    """Made-up stations behind `vtep`, in batches."""
    batch: list[Change] = []
    for number in range(entries):
        vni = Vni(FIRST_VNI + number % networks)
        mac = Mac(b"\x06" + number.to_bytes(5, "big"))
        ip = Ip(b"\x0b" + number.to_bytes(3, "big"))
        batch.append(SetEntry(vni, mac, Vtep(vtep, PORT), (ip,)))
        if len(batch) == BATCH:
            yield batch
            batch = []
    yield batch


async def program(datapath: Datapath, batches: Sequence[list[Change]]) -> float:
    """Program them; how many seconds the datapath had to work for it."""
    busy_s = 0.0
    for batch in batches:
        start = time.perf_counter()
        datapath.program(batch)
        busy_s += time.perf_counter() - start
        await asyncio.sleep(0)
    return busy_s


async def carry(words: argparse.Namespace) -> None:
    """Serve until SIGTERM."""
    stop, again = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, again.set)
    local, remote = (Vtep(parse_ip(text), PORT) for text in (words.local, words.remote))
    datapath, _ = select(words.datapath, local)
    await datapath.start()
    try:
        for number in range(words.networks):
            vni = Vni(FIRST_VNI + number)
            datapath.set_segment(Segment(vni, words.mtu, suppress_neighbours=False))
            datapath.program([SetPeers(vni, (Peer(remote, learning=True),))])
        first, second = (list(changes(words.entries, words.networks, ip)) for ip in NOBODY)
        before = resident_bytes()
        busy_s = await program(datapath, first)
        grown = resident_bytes() - before
        datapath.add_port(Port(PortId(1), Vni(FIRST_VNI)), Tap.open(DEVICE))
        print(json.dumps({"programming_s": busy_s, "grown_bytes": grown}), flush=True)
        replacing = asyncio.create_task(replace(datapath, again, (second, first)))
        await stop.wait()
        replacing.cancel()
    finally:
        await datapath.close()


async def replace(
    datapath: Datapath, again: asyncio.Event, turns: tuple[list[list[Change]], list[list[Change]]]
) -> None:
    """Each time it is asked for, have every entry move to the other of two VTEPs."""
    while True:
        for turn in turns:
            await again.wait()
            again.clear()
            await program(datapath, turn)


def resident_bytes() -> int:
    """What the process holds in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main() -> None:
    """Read the command line and carry."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datapath", required=True)
    parser.add_argument("--local", required=True)
    parser.add_argument("--remote", required=True)
    parser.add_argument("--mtu", type=int, required=True)
    parser.add_argument("--entries", type=int, required=True)
    parser.add_argument("--networks", type=int, required=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(carry(parser.parse_args()))


if __name__ == "__main__":
    main()
