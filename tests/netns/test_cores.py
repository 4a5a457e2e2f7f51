"""A thread that carries much keeps to a core, and roams again, as the kernel tells it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.clusters import cluster_on, reaches
from vxnet.demo.cluster import Cluster, Daemon, wait_for

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with cluster_on(2, datapath="native", network="blue") as built:
        yield built


def cores(daemon: Daemon) -> set[frozenset[int]]:
    """Where each of a daemon's threads that carry frames may run."""
    threads = [
        int(thread.name)
        for thread in Path(f"/proc/{daemon.process.pid}/task").iterdir()
        if thread.joinpath("comm").read_text().startswith("vxnet-")
    ]
    assert threads
    return {frozenset(os.sched_getaffinity(thread)) for thread in threads}


def test_threads_keep_to_a_core_under_a_stream_and_roam_after_it(cluster: Cluster) -> None:
    near, far = (daemon.attach("blue") for daemon in cluster.daemons)
    assert reaches(near, far)
    everywhere = frozenset(os.sched_getaffinity(0))
    sender, receiver = cluster.daemons
    assert cores(sender) == cores(receiver) == {everywhere}

    server = far.sandbox.popen(["iperf3", "-s"])
    address = far.addresses[0]
    wait_for(
        lambda: far.sandbox.run(["ss", "-Hltn", "sport", "=", ":5201"]).stdout.strip() != "",
        20,
        "iperf3 listens",
    )
    client = near.sandbox.popen(["iperf3", "-c", address, "-t", "120"])
    try:
        for daemon in cluster.daemons:
            wait_for(
                lambda daemon=daemon: any(len(kept) == 1 for kept in cores(daemon)),
                90,
                "a thread that carries a stream keeps to a core",
            )
    finally:
        for process in (client, server):
            process.terminate()
            process.wait()

    def roam() -> bool:
        # A thread looks up when there is something to carry, however little.
        assert reaches(near, far)
        return cores(sender) == cores(receiver) == {everywhere}

    wait_for(roam, 30, "the threads roam again")
