"""`vxnet doctor` on real clusters: silent on healthy ones, each fault named when it is there."""

import asyncio
import json
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.helpers.clusters import cluster_on
from tests.helpers.datapaths import DATAPATHS
from vxnet.api.model import AttachBody, EndpointBody, JoinBody, NetworkBody
from vxnet.demo.bed import UNDERLAY, Bed
from vxnet.demo.cluster import VXNET, Cluster, Daemon, wait_for
from vxnet.demo.station import Station
from vxnet.doctor.examine import examine as examine_with
from vxnet.errors import HostError

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]

NAMED_WITHIN_S = 40.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three hosts with daemons and a network; the third is for faults that stay."""
    with cluster_on(3, network="blue") as built:
        yield built


@pytest.fixture(scope="module")
def station(cluster: Cluster) -> Station:
    """An endpoint of the first host."""
    return cluster.daemons[0].attach("blue")


@pytest.fixture
def here(cluster: Cluster, station: Station) -> Daemon:
    """The host that is examined; nothing is wrong with it before a fault and after."""
    return cluster.daemons[0]


def examine(daemon: Daemon, *around: str) -> dict[str, set[str]]:
    """What doctor finds on a host, its exit status checked: where, by name."""
    command = [*around, *VXNET, "doctor", "--json", "-c", str(daemon.config)]
    done = daemon.host.run([*command, "--socket", str(daemon.socket)], check=False)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["ok"] else 1)
    found: dict[str, set[str]] = {}
    for finding in report["findings"]:
        assert finding["text"], finding
        assert finding["mend"], finding
        assert not finding["advice"], finding
        found.setdefault(finding["name"], set()).add(finding["where"])
    return found


def names(daemon: Daemon, fault: str, where: str = "this host") -> None:
    """Wait until doctor names a fault at a place; what others say may take a moment to arrive."""
    last: dict[str, set[str]] = {}

    def named() -> bool:
        nonlocal last
        last = examine(daemon)
        return where in last.get(fault, set())

    try:
        wait_for(named, NAMED_WITHIN_S, fault)
    finally:
        assert where in last.get(fault, set()), f"{fault} at {where} is not in {last}"


def is_well(daemon: Daemon) -> None:
    """Wait until doctor says that nothing is wrong."""
    wait_for(lambda: not examine(daemon), NAMED_WITHIN_S, "nothing is wrong")


@contextmanager
def rules(daemon: Daemon, *lines: str) -> Iterator[None]:
    """A packet filter table on a host, with an input chain of these rules."""
    chain = "\n".join(("type filter hook input priority 0;", *lines))
    text = f"table inet fault {{\nchain input {{\n{chain}\n}}\n}}\n"
    daemon.host.run(["nft", "-f", "-"], input_text=text)
    try:
        yield
    finally:
        daemon.host.run(["nft", "delete", "table", "inet", "fault"])


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_nothing_is_wrong_with_a_healthy_cluster(datapath: str) -> None:
    with cluster_on(2, datapath=datapath, network="blue") as cluster:
        for daemon in cluster.daemons:
            daemon.attach("blue")
            assert examine(daemon) == {}
            done = daemon.host.run([*VXNET, "doctor", "--socket", str(daemon.socket)])
            assert done.stdout == "nothing is wrong; other hosts asked: 1\n"


# ── faults that go again: the first two hosts ───────────────────────────────────────────────────


def test_a_filter_that_drops_vxlan_is_named_with_the_direction(
    cluster: Cluster, here: Daemon
) -> None:
    is_well(here)
    with rules(cluster.daemons[1], "udp dport 4789 drop"):
        found = examine(here)
        assert found == {"vxlan_unreachable": {"h2"}}
        assert "firewall" in examine(cluster.daemons[1])
    with rules(here, "udp dport 4789 drop"):
        found = examine(here)
        assert found["firewall"] == {"this host"}
        assert found["vxlan_unreachable"] == {"h2", "h3"}
    is_well(here)


def test_a_filter_that_lets_a_bridge_lead_nowhere_is_named_with_what_mends_it(
    here: Daemon,
) -> None:
    here.client.create_network(NetworkBody("out", driver="bridge"))
    chain = "type filter hook forward priority 0; policy drop;"
    closed = f"add table ip own; add chain ip own closed {{ {chain} }}"
    for close, undo in (
        (["nft", closed], ["nft", "delete table ip own"]),
        (["iptables-legacy", "-P", "FORWARD", "DROP"], ["iptables-legacy", "-F", "FORWARD"]),
    ):
        here.host.run(close)
        report = here.host.run(
            [*VXNET, "doctor", "--json", "--socket", str(here.socket)], check=False
        )
        [finding] = json.loads(report.stdout)["findings"]
        assert finding["name"] == "forwarding", finding
        for command in finding["mend"].split("; "):
            here.host.run(shlex.split(command))
        is_well(here)
        here.host.run(undo)
    here.host.run(["iptables-legacy", "-P", "FORWARD", "ACCEPT"])
    here.client.remove_network("out")
    is_well(here)


def test_a_filter_that_drops_gossip_over_udp_or_tcp_is_named(
    cluster: Cluster, here: Daemon
) -> None:
    with rules(cluster.daemons[1], "udp dport 7947 ip saddr 192.0.2.1 drop"):
        assert "h2" in examine(here)["gossip_unreachable"]
    with rules(cluster.daemons[1], "tcp dport 7947 drop"):
        assert examine(here)["gossip_tcp_unreachable"] == {"h2"}
    with rules(here, "policy drop;", "iif lo accept", "ip protocol icmp accept"):
        assert examine(here)["firewall"] == {"this host"}
    is_well(here)


def test_a_smaller_mtu_on_the_way_is_found_to_the_octet(cluster: Cluster, here: Daemon) -> None:
    assert cluster.bed._switch is not None
    switch = cluster.bed._switch
    switch.run(["ip", "link", "set", "h2", "mtu", "1387"])
    done = here.host.run([*VXNET, "doctor", "--socket", str(here.socket)], check=False)
    switch.run(["ip", "link", "set", "h2", "mtu", "1500"])
    assert done.returncode == 1
    assert "h2: path_mtu: packets of 1387 octets pass" in done.stdout
    is_well(here)


def test_an_underlay_with_another_mtu_or_without_the_address_is_named(
    here: Daemon,
) -> None:
    run = here.host.run
    run(["ip", "link", "set", UNDERLAY, "mtu", "1400"])
    assert "underlay_mtu" in examine(here)
    run(["ip", "link", "set", UNDERLAY, "mtu", "1500"])
    run(["ip", "addr", "del", "192.0.2.1/24", "dev", UNDERLAY])
    assert "vtep_address" in examine(here)
    run(["ip", "addr", "add", "192.0.2.1/24", "dev", UNDERLAY])
    is_well(here)


def test_a_route_into_a_network_s_subnet_is_named(here: Daemon) -> None:
    here.host.run(["ip", "route", "add", "10.9.0.0/16", "dev", UNDERLAY])
    assert examine(here) == {"subnet_overlap": {"this host"}}
    here.host.run(["ip", "route", "del", "10.9.0.0/16"])


def test_a_device_that_somebody_put_into_a_bridge_is_named(here: Daemon, station: Station) -> None:
    station.sandbox.run(["ip", "link", "add", "grab0", "type", "bridge"])
    station.sandbox.run(["ip", "link", "set", station.ifname, "master", "grab0"])
    assert "device_grabbed" in examine(here)
    station.sandbox.run(["ip", "link", "del", "grab0"])
    is_well(here)


def test_a_mac_that_another_host_has_too_is_named(
    cluster: Cluster, here: Daemon, station: Station
) -> None:
    other = cluster.daemons[1]
    twin = other.host.sandbox("twin")
    body = EndpointBody("blue", name="twin", mac=station.mac)
    other.client.attach(AttachBody(body, JoinBody("netns", twin.name)))
    names(here, "duplicate_mac")
    other.client.remove_endpoint("twin")
    is_well(here)


def test_a_key_that_others_can_read_is_named(here: Daemon) -> None:
    here.key_file.chmod(0o644)
    assert examine(here) == {"key_file": {"this host"}}
    here.key_file.chmod(0o600)


def test_a_full_disk_is_named(cluster: Cluster, here: Daemon, tmp_path: Path) -> None:
    small = tmp_path / "state"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=True)
    try:
        other = _config(
            here, tmp_path, f'state_dir = "{here.host.directory}"', f'state_dir = "{small}"'
        )
        assert "disk_space" in _examine_dead(here, other)
    finally:
        subprocess.run(["umount", small], check=True)


def test_missing_rights_devices_and_buffers_are_named(here: Daemon) -> None:
    found = examine(here, "setpriv", "--bounding-set=-net_admin,-sys_admin", "--")
    assert "privileges" in found
    without = 'mount -t tmpfs tmpfs /dev/net && exec "$@"'
    assert "tun" in examine(here, "unshare", "--mount", "sh", "-c", without, "sh")
    limit = Path("/proc/sys/net/core/rmem_max")
    before = limit.read_text()
    limit.write_text(str(min(int(before), 4 << 20)))
    try:
        found = examine(here, "setpriv", "--bounding-set=-net_admin", "--")
    finally:
        limit.write_text(before)
    assert "socket_buffers" in found


# ── faults of a daemon that does not run ────────────────────────────────────────────────────────


def _config(daemon: Daemon, directory: Path, old: str, new: str) -> Path:
    """The settings of a daemon with something else in them."""
    other = directory / "other.toml"
    text = daemon.config.read_text()
    assert old in text
    other.write_text(text.replace(old, new))
    return other


def _examine_dead(daemon: Daemon, config: Path) -> dict[str, set[str]]:
    """What doctor finds with these settings where no daemon answers."""
    command = [*VXNET, "doctor", "--json", "-c", config, "--socket", "/run/vxnet-demo/none"]
    done = daemon.host.run(command, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    report = json.loads(done.stdout)
    assert not report["daemon"]
    found: dict[str, set[str]] = {}
    for finding in report["findings"]:
        found.setdefault(finding["name"], set()).add(finding["where"])
    assert found["daemon_down"] == {"this host"}
    return found


def test_without_a_daemon_this_host_is_examined_all_the_same(tmp_path: Path) -> None:
    with Bed(1) as bed:
        cluster = Cluster(bed, datapath="pure")
        [daemon] = cluster.daemons
        daemon.key_file.touch(mode=0o600)
        daemon.key_file.write_text("00" * 32)
        daemon.config.write_text(cluster._settings(daemon))
        assert _examine_dead(daemon, daemon.config) == {"daemon_down": {"this host"}}

        database = daemon.host.directory / "vxnet.db"
        database.write_bytes(b"SQLite format 3\0" + b"x" * 8192)
        assert "database" in _examine_dead(daemon, daemon.config)
        database.unlink()

        broken = _config(daemon, tmp_path, 'datapath = "pure"', 'datapath = "fast"')
        assert "settings" in _examine_dead(daemon, broken)

        docker = tmp_path / "docker.toml"
        docker.write_text(daemon.config.read_text() + "\n[docker]\nenabled = true\n")
        found = _examine_dead(daemon, docker)
        assert "plugin_socket" in found

        daemon.host.run(["ip", "link", "set", UNDERLAY, "down"])
        assert "underlay_down" in _examine_dead(daemon, daemon.config)
        daemon.host.run(["ip", "link", "set", UNDERLAY, "up"])

        def take() -> socket.socket:
            taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            taken.bind((daemon.vtep, cluster.port))
            return taken

        with daemon.host.inside(take):
            assert "port_taken" in _examine_dead(daemon, daemon.config)
        assert _examine_dead(daemon, daemon.config) == {"daemon_down": {"this host"}}


# ── faults between hosts ────────────────────────────────────────────────────────────────────────


def restart(daemon: Daemon, *around: str) -> None:
    """End a daemon, and start it with something around it."""
    with suppress(OSError):
        daemon.stop()
    with daemon.log.open("ab") as log:
        command = [*around, *VXNET, "daemon", "-c", daemon.config] if around else None
        if command is None:
            daemon.start()
        else:
            daemon._process = daemon.host.popen(command, stdout=log, stderr=log)
    daemon.wait_until_ready()


def set_up(daemon: Daemon, old: str, new: str) -> str:
    """Change a daemon's settings; what they were."""
    before = daemon.config.read_text()
    assert old in before
    daemon.config.write_text(before.replace(old, new))
    return before


def test_a_host_that_is_down_and_a_seed_that_is_silent_are_named(
    cluster: Cluster, here: Daemon
) -> None:
    third = cluster.daemons[2]
    third.kill()
    names(here, "peer_down", "h3")
    names(here, "seed_silent")
    restart(third)
    is_well(here)


def test_a_clock_that_is_wrong_is_named(cluster: Cluster, here: Daemon) -> None:
    third = cluster.daemons[2]
    [library] = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    fake = "FAKETIME=+30s", "FAKETIME_DONT_FAKE_MONOTONIC=1", f"LD_PRELOAD={library}"
    restart(third, "env", *fake)
    names(here, "clock_skew", "h3")
    restart(third)
    is_well(here)


OTHER_VERSION = """
import vxnet.control.gossip as gossip
gossip.version = lambda _: "0.0.9"
from vxnet.cli import main
main()
"""


def test_another_version_is_named(cluster: Cluster, here: Daemon) -> None:
    third = cluster.daemons[2]
    third.stop()
    with third.log.open("ab") as log:
        command = [sys.executable, "-c", OTHER_VERSION, "daemon", "-c", third.config]
        third._process = third.host.popen(command, stdout=log, stderr=log)
    third.wait_until_ready()
    names(here, "version_mismatch", "h3")
    restart(third)
    is_well(here)


def test_another_key_and_another_cluster_are_named_on_both_sides(
    cluster: Cluster, here: Daemon
) -> None:
    third = cluster.daemons[2]
    key = third.key_file.read_text()
    third.key_file.write_text("11" * 32)
    restart(third)
    names(here, "wrong_key", "192.0.2.3:7947")
    names(third, "wrong_key", "192.0.2.1:7947")
    third.key_file.write_text(key)
    before = set_up(third, f'cluster = "{cluster.bed.prefix}"', 'cluster = "elsewhere"')
    restart(third)
    names(here, "other_cluster", "192.0.2.3:7947")
    third.config.write_text(before)
    restart(third)


def test_names_ids_and_addresses_that_two_hosts_have_are_named(
    cluster: Cluster, here: Daemon
) -> None:
    third = cluster.daemons[2]
    before = set_up(third, 'name = "h3"', 'name = "h2"')
    restart(third)
    names(third, "duplicate_name")
    third.config.write_text(before)
    third.stop()
    state = third.host.directory / "gossip.json"
    own = state.read_bytes()
    shutil.copy(cluster.daemons[1].host.directory / "gossip.json", state)
    third.start()
    third.wait_until_ready()
    names(here, "duplicate_id")
    third.stop()
    state.write_bytes(own)
    third.start()
    third.wait_until_ready()


def test_a_daemon_that_stops_answering_half_way_is_a_finding_beside_the_others(
    here: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent() -> None:
        raise HostError("the daemon did not answer within 10 s")

    monkeypatch.setattr(here.client, "endpoints", silent)
    report = asyncio.run(examine_with(here.client, here.config))
    assert not report.ok
    assert "daemon_down" in {finding.name for finding in report.findings}
