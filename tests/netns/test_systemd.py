"""The shipped unit under a real systemd: containers with Debian, provisioned by scripts/install."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.helpers.pulse import Pulse
from tests.helpers.streams import Place, Streams
from tests.lab.container import Container
from tests.lab.debian import ROOT
from tests.lab.package import wheel
from vxnet.demo.bed import Bed

# The first time, Debian has to be made.
pytestmark = [pytest.mark.netns, pytest.mark.timeout(900)]

INSTALL = ("/src/scripts/install", "--wheels", "/wheels")
KEY = "/var/lib/vxnet/gossip.key"
SOON_S = 40.0
LOST_AT_MOST = 5
"""Beats, one every 10 ms."""

VTEP = "192.0.2.1"
"""The first host's."""

Pair = tuple[Container, Container]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two hosts of a cluster, a sandbox `box` with an endpoint on each."""
    directory = tmp_path_factory.mktemp("systemd")
    source = directory / "src"
    for name in ("scripts", "deploy"):
        shutil.copytree(ROOT / name, source / name)
    shutil.copy(ROOT / "pyproject.toml", source)
    folders = {"/src": source, "/wheels": wheel()}
    with ExitStack() as stack:
        bed = stack.enter_context(Bed(2))
        one, other = (
            stack.enter_context(Container(host.name, host.path, directory / host.label, folders))
            for host in bed.hosts
        )
        one.run(*INSTALL, "--name", "one", "--vtep", bed[0].vtep4)
        other.path("/run/key").write_bytes(one.path(KEY).read_bytes())
        other.run(
            *(*INSTALL, "--name", "other", "--vtep", bed[1].vtep4),
            *("--seed", bed[0].vtep4, "--key", "/run/key"),
        )
        one.run("vxnet", "network", "create", "blue", "--subnet", "10.9.0.0/24")
        for number, container in enumerate((one, other), start=1):
            container.wait_for(
                lambda c=container: succeeds(c, "vxnet", "network", "inspect", "blue"),
                SOON_S,
                "the network is known",
            )
            container.run("ip", "netns", "add", "box")
            container.run("vxnet", "attach", "blue", "--netns", "box", "--ip", f"10.9.0.{number}")
        one.wait_for(lambda: pings(one), SOON_S, "the endpoints reach each other")
        yield one, other


def succeeds(container: Container, *command: str) -> bool:
    return container.run(*command, check=False).returncode == 0


def pings(container: Container, address: str = "10.9.0.2") -> bool:
    """Whether an address answers a ping out of the container's sandbox."""
    return succeeds(
        container, *("ip", "netns", "exec", "box", "ping", "-q", "-c", "1", "-W", "1", address)
    )


def places(pair: Pair) -> tuple[Place, Place]:
    one, other = (container.path("/run/netns/box") for container in pair)
    return Place(one, ("10.9.0.1",)), Place(other, ("10.9.0.2",))


def connects(container: Container, address: str, port: int) -> bool:
    """Whether somebody listens there, asked from the container's own namespace."""

    def connect() -> bool:
        with suppress(OSError), socket.create_connection((address, port), 2.0):
            return True
        return False

    return Place(Path(f"/proc/{container.leader}/ns/net"), ()).inside(connect)


def link(container: Container) -> str:
    """The TAP of a virtual machine, as `ip` shows it; nothing where it is gone."""
    return container.run("ip", "-o", "link", "show", "vm0", check=False).stdout


def shown(container: Container, name: str) -> str:
    """A property of the unit."""
    return container.run("systemctl", "show", "-P", name, "vxnet.service").stdout.strip()


def sleepers(container: Container) -> list[str]:
    """The pids of `sleep` in a container."""
    said = container.run("sh", "-c", "grep -lx sleep /proc/[0-9]*/comm", check=False).stdout
    return [name.split("/")[2] for name in said.split()]


def wait_for_another(container: Container, pid: str) -> None:
    """Until a daemon runs that is not this one."""
    container.wait_for(
        lambda: (
            shown(container, "MainPID") not in ("0", pid)
            and shown(container, "ActiveState") == "active"
        ),
        SOON_S,
        "systemd started another daemon",
    )


def test_the_daemon_is_nobody_but_for_what_the_unit_says(pair: Pair) -> None:
    one, _ = pair
    assert shown(one, "ActiveState") == "active"
    one.wait_for(
        lambda: shown(one, "StatusText").startswith("1 endpoints, 1 other hosts, "),
        SOON_S,
        "the status says what there is",
    )
    status = one.run("cat", f"/proc/{shown(one, 'MainPID')}/status").stdout
    fields = dict(line.split(":", 1) for line in status.splitlines())
    assert fields["Uid"].split()[0] != "0"
    assert fields["Seccomp"].strip() == "2"
    assert fields["NoNewPrivs"].strip() == "1"
    # linux/capability.h: NET_BIND_SERVICE, _BROADCAST, _ADMIN, _RAW, SYS_PTRACE, SYS_ADMIN
    wanted = sum(1 << bit for bit in (10, 11, 12, 13, 19, 21))
    for name in ("CapEff", "CapBnd"):
        assert int(fields[name], 16) == wanted


def test_installing_again_changes_nothing(pair: Pair) -> None:
    one, _ = pair
    pid = shown(one, "MainPID")
    said = one.run(*INSTALL).stdout
    assert "/opt/vxnet is up to date" in said
    assert "vxnet.service runs already" in said
    assert "wrote" not in said
    assert shown(one, "MainPID") == pid


def test_everything_that_root_s_daemon_does_this_one_does_too(pair: Pair) -> None:
    one, other = pair
    process = subprocess.Popen(
        ["nsenter", "--target", str(one.leader), "--all", "--", "unshare", "--net", "sleep", "60"],
        stdin=subprocess.DEVNULL,
    )
    try:
        one.wait_for(lambda: sleepers(one), SOON_S, "a process is there")
        (pid,) = sleepers(one)
        one.run("vxnet", "attach", "blue", "--pid", pid, "--name", "by-pid")
        one.run(
            "vxnet", "network", "create", "way-out", "--driver", "bridge", "--subnet", "10.8.0.0/24"
        )
        one.run(
            *("vxnet", "attach", "way-out", "--netns", "box", "--ifname", "eth1", "--name", "out"),
            *("--publish", "8080:80"),
        )
        assert pings(one, "10.8.0.1")
        # Forwarding and the packet filter are set for real: from the other host one gets through.
        box = Place(one.path("/run/netns/box"), ())
        with box.inside(lambda: socket.create_server(("", 80))):
            other.wait_for(lambda: connects(other, VTEP, 8080), SOON_S, "the port is reached")
        one.run("vxnet", "keys", "list")
        one.run("vxnet", "detach", "out")
        one.run("vxnet", "network", "rm", "way-out")
        one.run("vxnet", "detach", "by-pid")
    finally:
        process.kill()
        process.wait()


def test_a_virtual_machines_tap_is_kept_from_the_host_and_put_right(pair: Pair) -> None:
    one, _ = pair
    one.run("vxnet", "attach", "blue", "--tap", "vm0", "--name", "vm")
    settings = Path("/proc/sys/net")
    deaf = {"ipv6/conf/vm0/disable_ipv6": "1", "ipv4/conf/vm0/arp_ignore": "8"}
    assert {name: one.run("cat", str(settings / name)).stdout.strip() for name in deaf} == deaf
    one.run("ip", "link", "set", "vm0", "mtu", "1300", "down")
    one.wait_for(lambda: " mtu 1450 " in link(one), SOON_S, "the device is put right")
    pid = shown(one, "MainPID")
    one.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", "vxnet.service")
    wait_for_another(one, pid)
    before = link(one)
    one.run("ip", "link", "set", "vm0", "mtu", "1300")
    one.wait_for(lambda: " mtu 1450 " in link(one), SOON_S, "the next daemon puts it right, too")
    assert link(one).split(":")[0] == before.split(":")[0]
    one.run("vxnet", "detach", "vm")
    assert not link(one)


def test_the_resolver_of_a_network_answers(pair: Pair) -> None:
    one, other = pair
    other.run("ip", "netns", "add", "web")
    attach = ("vxnet", "attach", "blue", "--netns", "web", "--name", "web", "--ip", "10.9.0.20")
    # The address may be the other host's to give, which has just been restarted.
    other.wait_for(
        lambda: other.run(*attach, check=False).returncode == 0, SOON_S, "the address is to be had"
    )
    directory = one.path("/etc/netns/box")
    directory.mkdir(parents=True)
    (directory / "resolv.conf").write_text("nameserver 10.9.0.254\n")
    asked = ("ip", "netns", "exec", "box", "getent", "hosts", "web.blue")
    one.wait_for(
        lambda: "10.9.0.20" in one.run(*asked, check=False).stdout, SOON_S, "the name is known"
    )
    other.run("vxnet", "detach", "web")
    other.run("ip", "netns", "del", "web")


def test_a_restart_under_traffic_resets_nothing_and_loses_next_to_nothing(pair: Pair) -> None:
    _, other = pair
    source, target = places(pair)
    before = other.run("ip", "-n", "box", "-o", "link", "show", "eth0").stdout
    pid = shown(other, "MainPID")
    with Streams(source, target, 4) as streams, Pulse(source, target) as pulse:
        other.run("systemctl", "restart", "vxnet.service")
        wait_for_another(other, pid)
        so_far = list(streams.octets)
        other.wait_for(
            lambda: all(now > then for now, then in zip(streams.octets, so_far, strict=True)),
            SOON_S,
            "every stream goes on",
        )
    assert streams.intact, streams.failures
    assert len(pulse.lost) <= LOST_AT_MOST, f"{len(pulse.lost)} of {len(pulse.sent)} lost"
    assert other.run("ip", "-n", "box", "-o", "link", "show", "eth0").stdout == before
    assert "taking over" in other.run("journalctl", "-u", "vxnet.service", "-o", "cat").stdout


def test_systemd_starts_another_daemon_after_a_kill(pair: Pair) -> None:
    _, other = pair
    source, target = places(pair)
    pid = shown(other, "MainPID")
    with Streams(source, target, 1) as streams:
        other.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", "vxnet.service")
        wait_for_another(other, pid)
    assert streams.intact, streams.failures


def test_the_watchdog_notices_a_daemon_that_stands_still(pair: Pair) -> None:
    one, other = pair
    drop_in = "/run/systemd/system/vxnet.service.d/soon.conf"
    one.run("mkdir", "-p", str(Path(drop_in).parent))
    one.path(drop_in).write_text("[Service]\nWatchdogSec=2s\n")
    one.run("systemctl", "daemon-reload")
    pid = shown(one, "MainPID")
    one.run("systemctl", "restart", "vxnet.service")
    wait_for_another(one, pid)
    pid = shown(one, "MainPID")
    one.run("systemctl", "kill", "--signal=STOP", "--kill-whom=main", "vxnet.service")
    wait_for_another(one, pid)
    assert "watchdog" in one.run("journalctl", "-u", "vxnet.service", "-o", "cat").stdout.lower()
    other.wait_for(lambda: pings(other, "10.9.0.1"), SOON_S, "traffic flows again")


def test_uninstalling_takes_everything_away(pair: Pair) -> None:
    one, _ = pair
    one.run("vxnet", "network", "create", "out", "--driver", "bridge")
    one.run("vxnet", "attach", "out", "--netns", "box", "--ifname", "eth1", "--publish", "8080:80")
    inside = ("nsenter", f"--net=/proc/{one.leader}/ns/net")
    assert "vxnet" in subprocess.check_output([*inside, "nft", "list", "tables"], text=True)
    said = one.run("/src/scripts/install", "--uninstall").stdout
    assert "nothing of vxnet is left" in said
    assert " vx" not in one.run("ip", "-o", "link").stdout
    assert "vxnet" not in subprocess.check_output([*inside, "nft", "list", "tables"], text=True)
    for path in ("/opt", "/etc", "/var/lib", "/usr/local", "/run"):
        found = one.run("find", path, "-xdev", "-iname", "*vxnet*").stdout.split()
        assert not [name for name in found if not name.startswith("/run/systemd/system/")]
    assert not succeeds(one, "getent", "passwd", "vxnet")
    assert not succeeds(one, "systemctl", "cat", "vxnet.service")
    assert succeeds(one, "/src/scripts/install", "--uninstall")
