"""A daemon that ends at any moment: what it was doing, the next one makes whole or undoes.

`VXNET_KILLS=200` kills it that often, and says how soon traffic passed again.
"""

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from random import Random

import pytest

from tests.helpers.clusters import SUBNETS, cluster_on, reaches
from tests.helpers.manager import ServiceManager
from tests.helpers.pulse import Pulse
from vxnet.api.model import AttachBody, EndpointBody, JoinBody
from vxnet.demo.cluster import Cluster, Daemon, wait_for
from vxnet.demo.traffic import transfer
from vxnet.errors import VxnetError

pytestmark = [pytest.mark.netns, pytest.mark.timeout(900)]

KILLS = int(os.environ.get("VXNET_KILLS", "6"))
SEED = int(os.environ.get("VXNET_KILLS_SEED", "1"))
PATIENT = 'profile = "wan"'
"""On a busy machine a start takes seconds; the others are not to give up before."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two hosts and a network."""
    with cluster_on(2, settings=PATIENT) as built:
        built.daemons[0].create_network("blue", SUBNETS)
        built.wait_for_network("blue")
        yield built


def devices(netns: str) -> list[str]:
    """What a namespace holds beside loopback."""
    done = subprocess.run(
        ["ip", "-n", netns, "-o", "link"], capture_output=True, text=True, check=True
    )
    names = [line.split(": ")[1].split("@")[0] for line in done.stdout.splitlines()]
    return sorted(name for name in names if name != "lo")


def busy(daemon: Daemon, stop: threading.Event, random: Random) -> None:
    """Attach and detach in a few sandboxes, as fast as it goes, whatever it says."""
    sandboxes = [daemon.host.sandbox(f"busy{number}").name for number in range(3)]
    while not stop.is_set():
        sandbox = random.choice(sandboxes)
        with contextlib.suppress(VxnetError):
            daemon.client.attach(AttachBody(EndpointBody("blue"), JoinBody("netns", sandbox)))
        with contextlib.suppress(VxnetError):
            endpoints = [e for e in daemon.client.endpoints() if "steady" not in e.name]
            if endpoints:
                daemon.client.remove_endpoint(random.choice(endpoints).id)


def test_after_every_kill_each_endpoint_is_whole_or_gone(cluster: Cluster) -> None:
    daemon, other = cluster.daemons
    steady, far = daemon.attach("blue", name="steady"), other.attach("blue", name="far")
    random = Random(SEED)
    seconds = []
    with Pulse(steady, far) as pulse:
        for kill in range(KILLS):
            stop = threading.Event()
            worker = threading.Thread(target=busy, args=(daemon, stop, Random(kill)))
            worker.start()
            time.sleep(random.uniform(0.02, 0.6))
            daemon.kill()
            stop.set()
            worker.join()
            began = time.monotonic()
            daemon.start()
            wait_for(lambda at=began: pulse.first_after(at) is not None, 150, "traffic flows again")
            seconds.append((pulse.first_after(began) or began) - began)
            daemon.wait_until_ready()
            endpoints = daemon.client.endpoints()
            assert {e.state for e in endpoints} <= {"joined", "created"}
            expected = {
                (e.sandbox.removeprefix("netns "), e.ifname) for e in endpoints if e.sandbox
            }
            found = {
                (sandbox.name, device)
                for sandbox in daemon.host.sandboxes.values()
                for device in devices(sandbox.name)
            }
            assert found == expected
            assert not [d for d in devices(daemon.host.name) if d.startswith("vx") and len(d) == 14]
            assert daemon.client.verify().ok
    seconds.sort()
    middle, worst = seconds[len(seconds) // 2], seconds[-1]
    print(f"{KILLS} kills: traffic passed after {middle:.2f} s (median), {worst:.2f} s (worst)")
    assert reaches(steady, far)


@pytest.mark.parametrize("datapath", ["pure", "native"])
def test_a_restart_loses_at_most_50_ms_and_resets_no_connection(datapath: str) -> None:
    with cluster_on(2, settings=PATIENT, datapath=datapath) as cluster:
        daemon, other = cluster.daemons
        with ServiceManager(daemon) as manager:
            daemon.stop()
            manager.start()
            daemon.wait_until_ready()
            cluster.wait_for_members()
            daemon.create_network("blue", SUBNETS)
            cluster.wait_for_network("blue")
            one, far = daemon.attach("blue", name="one"), other.attach("blue", name="far")
            assert reaches(one, far)
            index = one.scope()

            with Pulse(one, far, every_s=0.05) as out, Pulse(far, one, every_s=0.05) as back:
                time.sleep(0.5)
                seconds = manager.restart()
                time.sleep(0.5)
            print(
                f"{datapath}: still for {out.longest_delay_s:.2f} s of a restart of {seconds:.2f} s"
            )
            # Pulses are 50 ms apart; a frame that is between two hands at that moment may go.
            assert max(len(out.lost), len(back.lost)) <= 1
            assert min(len(out.sent), len(back.sent)) > 20
            assert manager.kept == []
            assert one.scope() == index

            results: list[bool] = []
            workers = [
                threading.Thread(
                    target=lambda a, b: results.append(
                        transfer(a, b, b.addresses[0], 40_000_000, timeout_s=90).intact
                    ),
                    args=pair,
                )
                for pair in [(one, far), (far, one)] * 2
            ]
            for worker in workers:
                worker.start()
            time.sleep(0.3)
            manager.restart()
            for worker in workers:
                worker.join()
            assert results == [True] * 4
            assert daemon.client.verify().ok
            assert manager.stop() == 0
            assert devices(one.sandbox.name) == []
