"""One real daemon: how it starts, reloads and ends, and what it takes while it idles."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.clusters import SUBNETS, cluster_on, reaches
from tests.helpers.datapaths import DATAPATHS
from vxnet.api.model import AttachBody, EndpointBody, JoinBody
from vxnet.demo.cluster import VXNET, Cluster, Daemon, wait_for
from vxnet.errors import StateError

pytestmark = pytest.mark.netns


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """One host with a network."""
    with cluster_on(1) as built:
        built.daemons[0].create_network("blue", SUBNETS)
        yield built


@pytest.fixture
def daemon(cluster: Cluster) -> Daemon:
    """Its daemon."""
    return cluster.daemons[0]


def change(daemon: Daemon, old: str, new: str) -> None:
    """Put something else into the settings file."""
    text = daemon.config.read_text()
    assert old in text
    daemon.config.write_text(text.replace(old, new))


def reload(daemon: Daemon, said: str) -> None:
    """Have the settings read again, and wait until the log says so."""
    seen = len(daemon.log.read_text())
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: said in daemon.log.read_text()[seen:], 20, f"the log says {said!r}")


def devices(*, netns: str) -> list[str]:
    """The devices of a namespace, loopback left out."""
    done = subprocess.run(
        ["ip", "-n", netns, "-o", "link"], capture_output=True, text=True, check=True
    )
    names = [line.split(": ")[1].split("@")[0] for line in done.stdout.splitlines()]
    return [name for name in names if name != "lo"]


def cpu_s(pid: int) -> float:
    """User and system time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """What a process holds of the machine's memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def attach_body(netns: str) -> AttachBody:
    """Attach this namespace to the network."""
    return AttachBody(EndpointBody("blue"), JoinBody("netns", netns))


def test_a_vtep_that_is_not_on_this_host_is_said_with_those_that_are(daemon: Daemon) -> None:
    daemon.stop()
    change(daemon, f'vtep = "{daemon.vtep}"', 'vtep = "198.51.100.9"')
    done = daemon.host.run([*VXNET, "daemon", "-c", daemon.config], check=False)
    assert done.returncode == 1
    assert "no interface of this host has the address 198.51.100.9" in done.stderr
    assert daemon.vtep in done.stderr
    assert "Traceback" not in done.stderr


def test_a_daemon_that_ends_takes_its_devices_and_its_socket_along(daemon: Daemon) -> None:
    station = daemon.attach("blue")
    before = devices(netns=daemon.host.name)
    assert devices(netns=station.sandbox.name) == ["eth0"]
    assert daemon.stop() == 0
    assert devices(netns=station.sandbox.name) == []
    assert devices(netns=daemon.host.name) == before
    assert not daemon.socket.exists()
    assert "Traceback" not in daemon.log.read_text()


def test_after_a_kill_the_next_daemon_takes_up_the_devices_that_are_there(daemon: Daemon) -> None:
    one, other = daemon.attach("blue", name="one"), daemon.attach("blue", name="other")
    before = [daemon.client.endpoint(station.endpoint) for station in (one, other)]
    indices = one.scope(), other.scope()
    daemon.kill()
    assert devices(netns=one.sandbox.name) == ["eth0"]
    daemon.start()
    daemon.wait_until_ready()
    assert [daemon.client.endpoint(station.endpoint) for station in (one, other)] == before
    assert (one.scope(), other.scope()) == indices
    assert reaches(one, other)


def test_devices_stay_over_a_restart_where_the_settings_say_so(daemon: Daemon) -> None:
    change(daemon, "[node]", "[node]\nkeep_devices = true")
    daemon.stop()
    daemon.start()
    daemon.wait_until_ready()
    one, other = daemon.attach("blue", name="one"), daemon.attach("blue", name="other")
    index = one.scope()
    assert daemon.stop() == 0
    assert one.scope() == index
    daemon.start()
    daemon.wait_until_ready()
    assert one.scope() == index
    assert reaches(one, other)
    daemon.detach(one)
    assert devices(netns=one.sandbox.name) == []


def test_a_failed_attach_leaves_no_device_anywhere(daemon: Daemon) -> None:
    station = daemon.attach("blue")
    with pytest.raises(StateError, match="already has an interface eth0"):
        daemon.client.attach(attach_body(station.sandbox.name))
    assert devices(netns=station.sandbox.name) == ["eth0"]
    assert not [name for name in devices(netns=daemon.host.name) if name.startswith("vx")]
    assert len(daemon.client.endpoints()) == 1


def test_what_can_change_while_running_does_and_what_cannot_is_said(daemon: Daemon) -> None:
    change(daemon, "[vxlan]", '[log]\nlevel = "debug"\n[metrics]\nlisten = "127.0.0.1:9"\n[vxlan]')
    reload(daemon, "changed=log.level")
    assert 'event="setting changes at the next restart" key=metrics.listen' in (
        daemon.log.read_text()
    )
    with daemon.config.open("a") as file:
        file.write('[[network]]\nname = "green"\nvni = 77\n')
    reload(daemon, "changed=network")
    assert daemon.client.network("green").vni == 77


def test_wrong_settings_are_said_and_the_old_ones_stay(daemon: Daemon) -> None:
    change(daemon, "[vxlan]", '[log]\nlevel = "loud"\n[vxlan]')
    reload(daemon, "settings not reloaded")
    assert daemon.status().name == daemon.host.label


def test_systemd_is_told_when_the_daemon_is_ready_and_when_it_stops(
    daemon: Daemon, tmp_path: Path
) -> None:
    daemon.stop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(30)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        process = daemon.host.popen([*VXNET, "daemon", "-c", daemon.config], env=environment)

        def told(what: bytes) -> bool:
            """Whether systemd is told this before long, whatever else it is told before."""
            return any(message.startswith(what) for message in iter(lambda: systemd.recv(100), b""))

        assert told(b"READY=1")
        assert told(b"STATUS=0 endpoints, 0 other hosts, ")
        process.terminate()
        assert told(b"STOPPING=1")
        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_an_idle_daemon_takes_under_one_percent_of_a_core_and_80_mb(datapath: str) -> None:
    with cluster_on(1, datapath=datapath) as cluster:
        cluster.daemons[0].create_network("blue", SUBNETS)
        cluster.daemons[0].attach("blue")
        pid = cluster.daemons[0].process.pid
        time.sleep(2)
        before, began = cpu_s(pid), time.monotonic()
        time.sleep(15)
        assert (cpu_s(pid) - before) / (time.monotonic() - began) < 0.01
        # Where gossip is encrypted, as here, OpenSSL and numpy are too much for one of them.
        assert resident_bytes(pid) < (86_000_000 if datapath == "pure" else 80_000_000)


def test_a_second_signal_does_not_wait_for_the_goodbye(daemon: Daemon) -> None:
    daemon.process.terminate()
    wait_for(lambda: "event=stopping" in daemon.log.read_text(), 20, "it says that it stops")
    daemon.process.terminate()
    assert daemon.process.wait(timeout=20) in (0, 1)


def test_commands_reach_the_daemon_that_the_environment_names(daemon: Daemon) -> None:
    environment = {**os.environ, "VXNET_SOCKET": str(daemon.socket)}
    done = subprocess.run([*VXNET, "status"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0
    assert f"host       {daemon.host.label}," in done.stdout


def test_what_somebody_changes_on_our_device_is_put_right_within_a_second(daemon: Daemon) -> None:
    one, other = daemon.attach("blue", name="one"), daemon.attach("blue", name="other")
    before = one.sandbox.run(["ip", "-d", "-o", "link", "show", "eth0"]).stdout
    for command in (
        "link set eth0 mtu 1000",
        "link set eth0 address 02:00:00:00:00:99",
        "link set eth0 down",
        f"addr del {one.ipv4} dev eth0",
    ):
        one.sandbox.run(["ip", *command.split()])
        wait_for(lambda: reaches(one, other), 10, f"traffic flows after: {command}")
    assert one.sandbox.run(["ip", "-d", "-o", "link", "show", "eth0"]).stdout == before
    assert daemon.client.stats().control["devices_restored"] >= 4
    one.sandbox.run(["ip", "link", "del", "eth0"])
    wait_for(lambda: reaches(one, other), 10, "traffic flows after the device was deleted")


def test_an_endpoint_follows_its_sandbox_when_that_goes_and_comes_back(daemon: Daemon) -> None:
    name = f"{daemon.host.name}-brief"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        daemon.client.attach(AttachBody(EndpointBody("blue", "brief"), JoinBody("netns", name)))
        subprocess.run(["ip", "netns", "del", name], check=True)
        wait_for(
            lambda: daemon.client.endpoint("brief").state == "absent", 10, "it is seen as absent"
        )
        assert not [d for d in devices(netns=daemon.host.name) if d.startswith("vx1")]
        subprocess.run(["ip", "netns", "add", name], check=True)
        wait_for(lambda: devices(netns=name) == ["eth0"], 10, "it is back")
        assert daemon.client.endpoint("brief").state == "joined"
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
