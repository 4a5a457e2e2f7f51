"""Containers go on over restarts of dockerd, of vxnet and of both."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.docker import WITH_PORTER, DockerHost, docker_hosts
from tests.helpers.pulse import Pulse
from tests.helpers.streams import Place
from vxnet.demo.cluster import wait_for

pytestmark = [pytest.mark.netns, pytest.mark.timeout(400)]

VXNET = ("--driver", "vxnet", "--ipam-driver", "vxnet")
ANSWERS_WITHIN_S = 30.0


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[DockerHost]]:
    """Two hosts whose containers survive their dockerd."""
    with docker_hosts(2, engine=("--live-restore",), settings=WITH_PORTER) as (_, places):
        for place in places:
            place.start_porter()
        yield places


def restart_vxnet(host: DockerHost) -> None:
    host.kill()
    host.start()
    host.wait_until_ready()


def end_vxnet_gently(host: DockerHost) -> None:
    host.stop()
    host.start()
    host.wait_until_ready()


def restart_engine(host: DockerHost) -> None:
    host.kill_engine()
    host.start_engine("--live-restore")


def restart_both_vxnet_first(host: DockerHost) -> None:
    host.kill()
    host.kill_engine()
    host.start()
    host.wait_until_ready()
    host.start_engine("--live-restore")


def restart_both_engine_first(host: DockerHost) -> None:
    host.kill()
    host.kill_engine()
    host.start_engine("--live-restore")
    host.start()
    host.wait_until_ready()


RESTARTS = (
    end_vxnet_gently,
    restart_vxnet,
    restart_engine,
    restart_both_vxnet_first,
    restart_both_engine_first,
)
LOST_AT_MOST = 5
"""Beats, one every 10 ms, where vxnet runs on."""


def place_of(host: DockerHost, container: str) -> Place:
    pid = host.docker("inspect", "--format", "{{.State.Pid}}", container)
    return Place(Path(f"/proc/{pid}/ns/net"), (host.address(container, "blue"),))


def test_traffic_goes_on_over_restarts(hosts: list[DockerHost]) -> None:
    one, two = hosts
    for host in hosts:
        host.docker("network", "create", *VXNET, "--subnet", "10.9.0.0/24", "blue")
        wait_for(lambda: all("blue" in {n.name for n in h.networks()} for h in hosts), 20.0, "blue")
    one.container("web", "blue")
    two.container("db", "blue", "--publish", "8080:80")
    address = two.address("db", "blue")
    source, target = place_of(one, "web"), place_of(two, "db")
    for number, restart in enumerate(RESTARTS):
        with Pulse(source, target) as pulse:
            restart(two)
            wait_for(
                lambda: one.pings("web", address),
                ANSWERS_WITHIN_S,
                f"db answers after {restart.__name__}",
            )
        if restart is restart_engine:
            assert len(pulse.lost) <= LOST_AT_MOST, f"{len(pulse.lost)} of {len(pulse.sent)} lost"
        assert two.pings("db", one.vtep)
        # Its network is not created anew by dockerd, and still takes containers.
        two.container(f"new{number}", "blue")
        new = two.address(f"new{number}", "blue")
        wait_for(
            lambda new=new: one.pings("web", new),
            ANSWERS_WITHIN_S,
            f"a new one, {restart.__name__}",
        )
        assert [e.published for e in two.client.endpoints() if e.published] == [("8080:80/tcp",)]
        two.docker("rm", "--force", f"new{number}")
    for host in hosts:
        host.remove_containers()
    wait_for(lambda: not any(h.client.endpoints() for h in hosts), 20.0, "nothing is left")
