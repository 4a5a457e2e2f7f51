"""The managed plugin, as scripts/docker-plugin makes it, in a swarm of two real dockerds."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.docker import IMAGE, DockerHost, docker_hosts
from vxnet.demo.cluster import wait_for

ROOT = Path(__file__).parents[2]
SOON_S = 90.0

pytestmark = [pytest.mark.netns, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[DockerHost]]:
    """A manager and a worker, each with the plugin."""
    tree = tmp_path_factory.mktemp("plugin") / "tree"
    subprocess.run([ROOT / "scripts/docker-plugin", tree], check=True, stdout=subprocess.DEVNULL)
    with docker_hosts(2, vxnet=False) as (_, nodes):
        manager, worker = nodes
        manager.docker("swarm", "init", "--advertise-addr", manager.vtep)
        token = manager.docker("swarm", "join-token", "--quiet", "worker")
        worker.docker("swarm", "join", "--token", token, f"{manager.vtep}:2377")
        for node in nodes:
            node.docker("plugin", "create", "vxnet", str(tree), within_s=180.0)
            node.docker("plugin", "set", "vxnet", f"VXNET_SEEDS={manager.vtep},{worker.vtep}")
            node.docker("plugin", "enable", "--timeout", "120", "vxnet", within_s=180.0)
        yield nodes
        for node in reversed(nodes):
            node.docker("swarm", "leave", "--force")
            node.docker("plugin", "rm", "--force", "vxnet")


def task_on(node: DockerHost) -> str:
    """The container of the service on a node; "" while there is none."""
    return node.docker("ps", "--quiet", "--filter", "label=com.docker.swarm.service.name=web")


def test_the_tasks_of_a_service_find_and_reach_each_other(nodes: list[DockerHost]) -> None:
    manager = nodes[0]
    scope = ("--driver", "vxnet:latest", "--scope", "swarm", "--attachable")
    manager.docker("network", "create", *scope, "--subnet", "10.62.0.0/24", "blue")
    one_each = ("--replicas", "2", "--replicas-max-per-node", "1")
    words = ("--detach", "--name", "web", "--network", "blue", "--endpoint-mode", "dnsrr")
    manager.docker("service", "create", *words, *one_each, "--no-resolve-image", IMAGE)
    wait_for(
        lambda: all(task_on(node) for node in nodes),
        SOON_S,
        f"a task on each: {manager.docker('service', 'ps', '--no-trunc', 'web')}",
    )
    tasks = [task_on(node) for node in nodes]
    addresses = {node.address(task, "blue") for node, task in zip(nodes, tasks, strict=True)}
    assert len(addresses) == 2
    for node, task in zip(nodes, tasks, strict=True):
        for address in addresses:
            wait_for(lambda n=node, t=task, a=address: n.pings(t, a), SOON_S, f"{address} answers")
        # Docker's resolver in the container knows all tasks by the service's name.
        wait_for(
            lambda n=node, t=task: all(
                a in n.inside(t, "nslookup", "web", "127.0.0.11").stdout for a in addresses
            ),
            SOON_S,
            "the service's name leads to both tasks",
        )
    # A container that is none of the service's, as --attachable allows.
    manager.container("extra", "blue")
    assert all(manager.pings("extra", address) for address in addresses)
    manager.docker("rm", "--force", "extra")
    manager.docker("service", "rm", "web")
    for node in nodes:
        wait_for(lambda n=node: not task_on(n), SOON_S, "the service's tasks are gone")
    wait_for(
        lambda: manager.try_docker("network", "rm", "blue").returncode == 0,
        SOON_S,
        "the network is removed",
    )
