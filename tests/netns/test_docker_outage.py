"""dockerd with many endpoints starts while vxnet is dead, and all is well when vxnet comes.

dockerd waits 15 s for each call of a plugin whose socket is dead; the porter is there instead.
"""

from collections.abc import Iterator

import pytest

from tests.helpers.docker import IMAGE, WITH_PORTER, DockerHost, docker_hosts
from vxnet.demo.cluster import wait_for
from vxnet.docker.answers import NOBODY

pytestmark = [pytest.mark.netns, pytest.mark.timeout(400)]

NETWORKS = [f"n{number}" for number in range(10)]
CONTAINERS = [f"c{number}" for number in range(5)]
ENDPOINTS = len(NETWORKS) * len(CONTAINERS)
STARTS_WITHIN_S = 40.0
"""It takes one to three; were vxnet waited for, every endpoint would take 15 s."""
RECOVERS_WITHIN_S = 90.0
ORPHANS_GO_WITHIN_S = 90.0


@pytest.fixture(scope="module")
def host() -> Iterator[DockerHost]:
    """Containers that dockerd starts by itself, each in every network."""
    with docker_hosts(1, engine=("--live-restore",), settings=WITH_PORTER) as (_, [host]):
        host.start_porter()
        for number, name in enumerate(NETWORKS):
            subnet = f"10.9.{number}.0/24"
            words = ("--driver", "vxnet", "--ipam-driver", "vxnet", "--subnet", subnet)
            host.docker("network", "create", *words, name)
        for container in CONTAINERS:
            words = ("--name", container, "--restart", "always", "--network", NETWORKS[0])
            host.docker("create", *words, IMAGE)
            for name in NETWORKS[1:]:
                host.docker("network", "connect", name, container)
        host.docker("start", *CONTAINERS)
        assert len(host.client.endpoints()) == ENDPOINTS
        yield host


def begin_without_vxnet(host: DockerHost, *engine: str) -> None:
    """vxnet and dockerd die; dockerd comes back alone."""
    host.kill()
    host.kill_engine()
    assert host.start_engine(*engine) < STARTS_WITHIN_S
    said = host.refusal("run", "--rm", "--network", NETWORKS[0], IMAGE)
    assert NOBODY in said


def all_answer(host: DockerHost) -> bool:
    """Whether every container runs, and the next one reaches it in each of some networks."""
    running = host.docker("ps", "--format", "{{.Names}}").split()
    return len(running) == len(CONTAINERS) and all(
        host.pings(CONTAINERS[number - 1], host.address(container, name))
        for number, container in enumerate(CONTAINERS)
        for name in NETWORKS[number::4]
    )


def test_containers_that_ran_on_are_reached_again(host: DockerHost) -> None:
    begin_without_vxnet(host, "--live-restore")
    assert len(host.docker("ps", "--quiet").split()) == len(CONTAINERS)
    host.start()
    host.wait_until_ready()
    wait_for(lambda: all_answer(host), RECOVERS_WITHIN_S, "every container answers")
    host.docker("run", "--rm", "--network", NETWORKS[0], IMAGE, "true")


def test_containers_that_could_not_start_are_started(host: DockerHost) -> None:
    begin_without_vxnet(host)
    assert host.docker("ps", "--quiet") == ""
    host.start()
    host.wait_until_ready()
    wait_for(lambda: all_answer(host), RECOVERS_WITHIN_S, "every container runs and answers")
    wait_for(
        lambda: len(host.client.endpoints()) == ENDPOINTS,
        ORPHANS_GO_WITHIN_S,
        "those that Docker forgot meanwhile are removed",
    )
