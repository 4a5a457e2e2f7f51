"""How long many containers take that start at once: `python -m benchmarks.containers`.

On one engine, in the same run: without a network, on Docker's own bridge, in one network of vxnet,
and in five. What the first takes is Docker's share of the others.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.bed import two_hosts
from benchmarks.lock import alone
from benchmarks.peers.docker import IMAGE, PLUGIN, BesideEngine, docker, engine, import_image
from benchmarks.script import script
from vxnet.api.client import UnixConnection
from vxnet.demo.bed import Host
from vxnet.demo.cluster import Cluster
from vxnet.demo.processes import end_all
from vxnet.errors import HostError

__all__ = ["main"]

PATIENCE_S: Final = 120.0
SEVERAL: Final = 5
NO_NETWORK: Final = "none"


def ask(path: Path, verb: str, what: str, body: Any = None) -> None:
    """Ask Docker's API, which the command line would do one container after the other."""
    connection = UnixConnection(str(path), PATIENCE_S)
    headers = {"Content-Type": "application/json"}
    connection.request(verb, what, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    if answer.status >= 300:
        raise HostError(f"Docker refused {verb} {what}: {said.decode(errors='replace').strip()}")


def timed(work: Callable[[str], None], names: Sequence[str]) -> float:
    """Seconds until all of it is done, all at once."""
    with ThreadPoolExecutor(len(names)) as threads:
        began = time.perf_counter()
        list(threads.map(work, names))
        return time.perf_counter() - began


def networks(host: Host) -> Iterable[tuple[str, list[str]]]:
    """What is compared, and the networks that its containers are spread over."""
    yield "no network", [NO_NETWORK]
    docker(host, "network", "create", "--subnet", "10.43.0.0/24", "bridged")
    yield "Docker's bridge", ["bridged"]
    names = [f"vx{number}" for number in range(SEVERAL + 1)]
    for number, name in enumerate(names):
        words = ("--driver", "vxnet", "--ipam-driver", "vxnet", "--ipam-opt", f"network={name}")
        docker(host, "network", "create", *words, "--subnet", f"10.44.{number}.0/24", name)
    yield "vxnet, one network", names[:1]
    yield f"vxnet, {SEVERAL} networks", names[1:]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print how long it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=50, help="containers that start at once")
    options = parser.parse_args(arguments)
    waiting = partial(print, "another benchmark runs; waiting for it", file=sys.stderr)
    Path("/run/docker").mkdir(exist_ok=True)
    with alone(waiting), two_hosts() as bed, ExitStack() as stack:
        host = bed.hosts[0]
        cluster = Cluster(bed, settings=PLUGIN)
        cluster.daemons[:] = [BesideEngine(host, stack.enter_context(engine(host)))]
        stack.callback(lambda: end_all([daemon.process for daemon in cluster.daemons]))
        cluster.start()
        import_image(host)
        api = host.directory / "sock"
        print(f"{options.count} containers {'started':>17} {'removed':>8}  s")
        for title, spread in networks(host):
            names = [f"{spread[0]}-{number}" for number in range(options.count)]
            for number, name in enumerate(names):
                mode = {"NetworkMode": spread[number % len(spread)]}
                body = {"Image": IMAGE, "HostConfig": mode}
                ask(api, "POST", f"/containers/create?name={name}", body)
            up = timed(lambda name: ask(api, "POST", f"/containers/{name}/start"), names)
            down = timed(lambda name: ask(api, "DELETE", f"/containers/{name}?force=1"), names)
            print(f"{title:21} {up:9.1f} {down:8.1f}", flush=True)
    return 0


if __name__ == "__main__":
    script(main)
