"""What a daemon meets in the wild: each a counter or one clear sentence, and it goes on."""

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet

from tests.helpers.clusters import cluster_on, drops, reaches, vxnet, wait_for_drop
from tests.helpers.datapaths import DATAPATHS
from tests.helpers.wire import send_raw
from vxnet.demo.bed import Bed
from vxnet.demo.cluster import VXNET, Cluster, Daemon, wait_for
from vxnet.demo.station import Station
from vxnet.demo.traffic import ping

pytestmark = pytest.mark.netns

HEADER = VXLAN(vni=0, flags="Instance")


@pytest.fixture(scope="module", params=DATAPATHS)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Two hosts and a network with a station on each."""
    with cluster_on(2, datapath=request.param, network="blue") as built:
        yield built


@pytest.fixture(scope="module")
def stations(cluster: Cluster) -> tuple[Station, Station]:
    """A station on each host."""
    first, second = (daemon.attach("blue") for daemon in cluster.daemons)
    return first, second


@pytest.fixture(autouse=True)
def _goes_on(stations: tuple[Station, Station]) -> Iterator[None]:
    """Whatever a test does, frames flow afterwards."""
    yield
    assert reaches(*stations)


def tunnelled(cluster: Cluster, frame: bytes | Packet, *, first_octet: int = 0x08) -> bytes:
    """A VXLAN payload of the network blue."""
    vni = cluster.vni_of("blue")
    assert vni is not None
    return bytes([first_octet, 0, 0, 0]) + vni.to_bytes(3, "big") + b"\0" + bytes(frame)


def refused(daemon: Daemon, *arguments: str) -> str:
    """The sentence with which a command is refused."""
    done = vxnet(daemon, *arguments)
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    return said(done.stderr)


def arrived(daemon: Daemon) -> int:
    """Frames that tunnels brought: each delivered, flooded or dropped for a reason."""
    total = 0
    for place in daemon.client.stats().places:
        if place.kind == "network":
            counted = place.counters
            ends = counted.delivered + counted.flooded + sum(counted.drops.values())
            assert counted.received == ends
            total += counted.received
    return total


def said(text: str) -> str:
    """One sentence, told once."""
    [line] = text.strip().splitlines()
    return line


def ended(daemon: Daemon, command: list[str | Path]) -> str:
    """What a daemon says that gives up at its start."""
    done = daemon.host.run(command, check=False, timeout_s=30)
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    return done.stderr


def settings(daemon: Daemon, folder: Path, replaced: Mapping[str, str]) -> Path:
    """The daemon's settings in another file, with some texts replaced."""
    text = daemon.config.read_text()
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "vxnet.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("reason", "payload"),
    [
        ("vxlan_short", b""),
        ("vxlan_short", b"\x08"),
        ("vxlan_short", bytes(HEADER)),
        ("vxlan_short", bytes(HEADER) + b"\xff" * 13),
        ("vxlan_no_vni_flag", b"\0" * 64),
        ("unknown_vni", bytes(VXLAN(vni=0xABCDEF, flags="Instance")) + b"\xff" * 60),
    ],
    ids=["empty", "one-octet", "header-only", "no-frame", "no-flag", "unknown-vni"],
)
def test_a_datagram_that_is_no_vxlan_of_ours_is_counted(
    cluster: Cluster, reason: str, payload: bytes
) -> None:
    victim, source = cluster.daemons
    before = drops(victim).get(reason, 0)
    send_raw(source.host, (victim.vtep, cluster.port), payload)
    wait_for_drop(victim, reason, more_than=before)


def test_reserved_bits_are_ignored(cluster: Cluster, stations: tuple[Station, Station]) -> None:
    victim, hostile = cluster.daemons
    target, source = stations
    with target.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.settimeout(10)
        ear.bind((target.addresses[0], 0))
        datagram = UDP(sport=7, dport=ear.getsockname()[1]) / b"hello"
        packet = IP(src=source.addresses[0], dst=target.addresses[0]) / datagram
        frame = Ether(src=source.mac, dst=target.mac) / packet
        payload = tunnelled(cluster, frame, first_octet=0xFF)
        send_raw(hostile.host, (victim.vtep, cluster.port), payload)
        assert ear.recv(64) == b"hello"


@pytest.mark.parametrize("size", [14, 15, 20, 33], ids=lambda size: f"{size}-octets")
def test_truncated_inner_headers_do_no_harm(
    cluster: Cluster, stations: tuple[Station, Station], size: int
) -> None:
    victim, source = cluster.daemons
    ether = Ether(src=stations[1].mac, dst=stations[0].mac)
    frame = bytes(ether / IP(dst=stations[0].addresses[0]) / UDP())[:size]
    before = arrived(victim)
    send_raw(source.host, (victim.vtep, cluster.port), tunnelled(cluster, frame))
    wait_for(lambda: arrived(victim) > before, 10, "the frame is in the books")


def test_a_device_that_goes_down_and_comes_back(
    cluster: Cluster, stations: tuple[Station, Station]
) -> None:
    source, target = stations
    before = drops(cluster.daemons[1]).get("link_down", 0)
    target.sandbox.run(["ip", "link", "set", target.ifname, "down"])
    assert ping(source, target.addresses[0], wait_s=1) is None
    wait_for_drop(cluster.daemons[1], "link_down", more_than=before)
    target.sandbox.run(["ip", "link", "set", target.ifname, "up"])
    # The kernel forgot the IPv6 address with the device, as it does for any.
    target.sandbox.run(
        ["ip", "address", "replace", str(target.ipv6), "dev", target.ifname, "nodad"]
    )


def test_a_peer_that_answers_unreachable_is_no_obstacle(
    cluster: Cluster, stations: tuple[Station, Station]
) -> None:
    victim, other = cluster.daemons
    other.kill()
    for _ in range(3):
        ping(stations[0], stations[1].addresses[0], wait_s=1)
    assert vxnet(victim, "status").returncode == 0
    other.start()
    other.wait_until_ready()
    cluster.wait_for_members()


def test_a_port_in_use_is_said(cluster: Cluster, tmp_path: Path) -> None:
    daemon = cluster.daemons[0]
    elsewhere = {
        f'state_dir = "{daemon.host.directory}"': f'state_dir = "{tmp_path}"',
        f'socket = "{daemon.socket}"': f'socket = "{tmp_path}/vxnet.sock"',
    }
    path = settings(daemon, tmp_path, elsewhere)
    sentence = ended(daemon, [*VXNET, "daemon", "-c", path])
    assert f"{daemon.vtep}:{cluster.port}" in sentence
    assert "listens there already" in sentence


def test_a_second_daemon_on_the_same_socket_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    daemon = cluster.daemons[0]
    elsewhere = {
        f'state_dir = "{daemon.host.directory}"': f'state_dir = "{tmp_path}"',
        f"port = {cluster.port}": "port = 14789\n[gossip]\nport = 17947",
        "\n[gossip]\ncluster": "\ncluster",
    }
    sentence = ended(daemon, [*VXNET, "daemon", "-c", settings(daemon, tmp_path, elsewhere)])
    assert str(daemon.socket) in sentence
    assert vxnet(daemon, "status").returncode == 0


def test_a_second_daemon_on_the_same_state_is_refused(cluster: Cluster) -> None:
    daemon = cluster.daemons[0]
    sentence = ended(daemon, [*VXNET, "daemon", "-c", daemon.config])
    assert str(daemon.host.directory) in sentence
    assert vxnet(daemon, "status").returncode == 0


def test_without_root_the_daemon_says_what_it_needs(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    with Bed(hosts=1) as bed:
        daemon = Daemon(bed[0], bed[0].vtep4)
        path = tmp_path / "vxnet.toml"
        path.write_text(
            f'[node]\nname = "h1"\nvtep = "{bed[0].vtep4}"\n'
            f'state_dir = "{tmp_path}/state"\nsocket = "{tmp_path}/vxnet.sock"\n'
        )
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]
        sentence = ended(daemon, [*nobody, *VXNET, "daemon", "-c", path])
        assert "root" in sentence or "CAP_NET_ADMIN" in sentence


def test_without_dev_net_tun_the_daemon_says_so(tmp_path: Path) -> None:
    with Bed(hosts=1) as bed:
        daemon = Daemon(bed[0], bed[0].vtep4)
        path = tmp_path / "vxnet.toml"
        path.write_text(
            f'[node]\nname = "h1"\nvtep = "{bed[0].vtep4}"\n'
            f'state_dir = "{tmp_path}/state"\nsocket = "{tmp_path}/vxnet.sock"\n'
        )
        empty = tmp_path / "empty"
        empty.mkdir()
        script = 'mount --bind "$1" /dev/net && shift && exec "$@"'
        hidden = ["unshare", "--mount", "sh", "-c", script, "sh", empty]
        sentence = ended(daemon, [*hidden, *VXNET, "daemon", "-c", path])
        assert "/dev/net/tun" in sentence


def test_all_that_is_wrong_with_a_configuration_is_said_at_once(
    cluster: Cluster, tmp_path: Path
) -> None:
    path = tmp_path / "vxnet.toml"
    path.write_text('[node]\nname = "h 1"\nvtep = "nowhere"\n[vxlan]\nport = 0\nbogus = 1\n')
    sentences = ended(cluster.daemons[0], [*VXNET, "daemon", "-c", path])
    for key in ("node.name", "node.vtep", "vxlan.port", "vxlan.bogus"):
        assert key in sentences


def test_a_namespace_that_does_not_exist_is_said(cluster: Cluster) -> None:
    daemon = cluster.daemons[0]
    before = daemon.client.endpoints()
    sentence = refused(daemon, "attach", "blue", "--netns", "nowhere")
    assert "nowhere" in sentence
    assert daemon.client.endpoints() == before


def test_an_address_that_is_taken_is_said(
    cluster: Cluster, stations: tuple[Station, Station]
) -> None:
    for daemon in cluster.daemons:
        sandbox = daemon.host.sandbox("late")
        before = len(daemon.client.endpoints())
        for station in stations:
            taken = station.addresses[0]
            sentence = refused(daemon, "attach", "blue", "--netns", sandbox.name, "--ip", taken)
            assert taken in sentence
        assert len(daemon.client.endpoints()) == before


def test_an_unknown_network_is_said(cluster: Cluster) -> None:
    daemon = cluster.daemons[0]
    sandbox = daemon.host.sandbox("late")
    assert "nosuch" in refused(daemon, "attach", "nosuch", "--netns", sandbox.name)
