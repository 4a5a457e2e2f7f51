"""Containers go on over restarts of dockerd, of vxnet and of both."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.helpers.docker import WITH_PORTER, DockerHost, docker_hosts, left_on
from tests.helpers.pulse import Pulse
from tests.helpers.streams import Place
from vxnet.api.model import ServiceBody
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
ORPHANS_GO_WITHIN_S = 120.0
"""It takes up to a minute."""
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
        host.docker("network", "rm", "blue")
    wait_for(lambda: not any(map(left_on, hosts)), 20.0, "nothing is left")


def test_a_client_outside_keeps_its_connection_over_a_restart_of_the_members_vxnet(
    hosts: list[DockerHost],
) -> None:
    one, two = hosts
    one.docker("network", "create", *VXNET, "--subnet", "10.8.0.0/24", "green")
    two.docker("network", "create", *VXNET, "green")
    two.container("web", "green", "--label", "vxnet.service=shop")
    talk = "while read line; do [ $line = later ] && sleep 3; echo $line; done"
    two.docker("exec", "--detach", "web", "nc", "-ll", "-p", "8080", "-e", "sh", "-c", talk)
    body = ServiceBody("shop", "green", ports=("80:8080",), publish=("8081:80",))
    one.client.create_service(body)
    wait_for(lambda: sees(one) == ["clients"], ANSWERS_WITHIN_S, "the member is told to see them")
    wait_for(lambda: is_open(one), ANSWERS_WITHIN_S, "the port is open")
    with one.host.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as made:
        made.settimeout(60.0)
        made.connect((one.vtep, 8081))
        made.sendall(b"hello\n")
        assert made.recv(100) == b"hello\n"
        address, port = made.getsockname()
        # As the kernel writes it there.
        seen = f"{int.from_bytes(socket.inet_aton(address), 'little'):08X}:{port:04X}"
        assert seen in two.inside("web", "cat", "/proc/net/tcp", "/proc/net/tcp6").stdout
        made.sendall(b"later\n")  # so that the member is the first to speak afterwards
        restart_vxnet(two)
        assert made.recv(100) == b"later\n"
    one.client.remove_service("shop")
    for host in (two, one):
        host.remove_containers()
        host.docker("network", "rm", "green")


def sees(host: DockerHost) -> list[str]:
    """Whom a host believes each member to see."""
    return [member.sees for member in host.client.service("shop").members]


def is_open(host: DockerHost) -> bool:
    return [port.state for port in host.client.service("shop").published] == ["open"]


def test_what_goes_while_vxnet_is_killed_leaves_nothing_behind(hosts: list[DockerHost]) -> None:
    _, two = hosts
    two.docker("network", "create", *VXNET, "--subnet", "10.7.0.0/24", "red")
    names = [f"c{number}" for number in range(6)]
    for name in names:
        two.container(name, "red", "--publish", "80")
    with ThreadPoolExecutor(len(names)) as threads:
        removed = [threads.submit(two.try_docker, "rm", "--force", name) for name in names]
        two.kill()
        for number, going in enumerate(removed):
            said = going.result()
            assert said.returncode == 0, f"{names[number]}: {said.stderr}"
    two.docker("network", "rm", "red")
    two.start()
    two.wait_until_ready()
    wait_for(lambda: not left_on(two), ORPHANS_GO_WITHIN_S, "nothing is left")
