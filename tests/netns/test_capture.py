"""`vxnet capture` on real clusters, read by tshark."""

import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.datapath.stage import ethernet_frame
from tests.helpers.clusters import cluster_on, reaches, vxnet
from tests.helpers.datapaths import DATAPATHS
from vxnet.demo.cluster import VXNET, Cluster, wait_for
from vxnet.demo.station import Station
from vxnet.demo.traffic import ping, transfer
from vxnet.wire import vxlan
from vxnet.wire.addr import Vni, parse_mac

pytestmark = pytest.mark.netns

STRANGER = Vni(0xABCDE)


@pytest.fixture(scope="module", params=DATAPATHS)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Two hosts and a network."""
    with cluster_on(2, datapath=request.param, network="blue") as built:
        yield built


@pytest.fixture(scope="module")
def stations(cluster: Cluster) -> tuple[Station, Station]:
    """One on each host, which have spoken with each other."""
    near, far = (daemon.attach("blue") for daemon in cluster.daemons)
    assert reaches(near, far)
    return near, far


class Capturing:
    """A running capture of both hosts."""

    def __init__(self, process: "subprocess.Popen[bytes]", out: Path, err: Path) -> None:
        self.process, self.out, self.err = process, out, err

    def end(self) -> str:
        """End it as Ctrl-C does; what it wrote."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(20) == 0, self.err.read_text()
        return self.out.read_text()


@contextmanager
def capturing(cluster: Cluster, directory: Path, *arguments: str) -> Iterator[Capturing]:
    """Capture on every host until the end."""
    out, err = directory / "out.txt", directory / "err.txt"
    sockets = [word for d in cluster.daemons for word in ("--socket", str(d.socket))]
    command = [*VXNET, "capture", *sockets, *arguments]
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = cluster.daemons[0].host.popen(command, stdout=stdout, stderr=stderr)
    try:
        wait_for(
            lambda: err.read_text().count("capturing") == len(cluster.daemons),
            20,
            "every host is captured",
        )
        yield Capturing(process, out, err)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def tshark(file: Path, *fields: str) -> list[list[str]]:
    """What tshark reads of each frame."""
    wanted = [word for field in fields for word in ("-e", field)]
    done = subprocess.run(
        ["tshark", "-r", file, "-T", "fields", "-E", "separator=|", *wanted],
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.split("|") for line in done.stdout.splitlines()]


def send_from(station: Station, frame: bytes) -> None:
    """Have a sandbox send a frame that its kernel would not."""

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((station.ifname, 0))
            raw.send(frame)

    station.sandbox.inside(send)


def send_stray(cluster: Cluster) -> None:
    """Send the second host a frame of a network that nobody has."""
    datagram = vxlan.build(STRANGER) + ethernet_frame(bytes(6), b"\2\0\0\0\0\1")
    target = cluster.daemons[1].vtep, cluster.port

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(datagram, target)

    cluster.daemons[0].host.inside(send)


def test_a_file_tells_tshark_network_peer_direction_and_fate_of_each_frame(
    cluster: Cluster, stations: tuple[Station, Station], tmp_path: Path
) -> None:
    near, far = stations
    file = tmp_path / "both.pcapng"
    with capturing(cluster, tmp_path, "--write", str(file)) as running:
        assert ping(near, far.addresses[0], count=3) is not None
        send_from(near, ethernet_frame(parse_mac(far.mac), b"\2\0\0\0\0\x77"))
        send_stray(cluster)
        wait_for(lambda: b"unknown_vni" in file.read_bytes(), 10, "the stray frame is written")
        wait_for(lambda: b"port_security" in file.read_bytes(), 10, "so is the dropped one")
        running.end()
    frames = tshark(
        file,
        "frame.interface_name",
        "frame.packet_flags_direction",
        "frame.time_epoch",
        "icmp.type",
        "icmp.seq",
        "frame.comment",
    )
    times = [float(frame[2]) for frame in frames]
    assert times == sorted(times)
    vni = cluster.vni_of("blue")
    asked = [frame for frame in frames if frame[3] == "8" and frame[4] == "1"]
    assert len(asked) == 2
    assert [(frame[0], int(frame[1], 16) & 3) for frame in asked] == [("h1", 2), ("h2", 1)]
    assert asked[0][5] == (
        f"host h1, network blue, VNI {vni}, direction out, from endpoint {near.sandbox.name}, "
        f"to peer h2, VTEP {cluster.daemons[1].vtep}:4789, sent"
    )
    assert asked[1][5] == (
        f"host h2, network blue, VNI {vni}, direction in, from peer h1, "
        f"to endpoint {far.sandbox.name}, VTEP {cluster.daemons[0].vtep}:4789, delivered"
    )
    [stray] = [frame[5] for frame in frames if "unknown_vni" in frame[5]]
    assert f"VNI {STRANGER}, direction in, from peer h1" in stray
    assert stray.endswith("dropped: unknown_vni")
    [refused] = [frame[5] for frame in frames if "port_security" in frame[5]]
    assert refused.startswith("host h1, network blue")
    assert refused.endswith("dropped: port_security")


def test_a_listing_has_a_line_for_each_frame_that_a_person_can_read(
    cluster: Cluster, stations: tuple[Station, Station], tmp_path: Path
) -> None:
    near, far = stations
    with capturing(cluster, tmp_path, "--network", "blue") as running:
        assert ping(near, far.addresses[0]) is not None
        send_from(near, ethernet_frame(parse_mac(far.mac), b"\2\0\0\0\0\x78"))
        send_stray(cluster)
        wait_for(lambda: "DROPPED" in running.out.read_text(), 10, "the drop is listed")
        text = running.end()
    name = re.escape(near.sandbox.name)
    assert re.search(rf"h1 blue out {name} > h2  IP / ICMP .*echo-request", text)
    assert re.search(rf"h1 blue in  h2 > {name}  IP / ICMP .*echo-reply", text)
    assert re.search(rf"h1 blue out {name} > DROPPED port_security", text)
    assert "unknown_vni" not in text, "it is of another network"
    assert re.search(r"^\d+ frames shown, 0 missed$", running.err.read_text(), re.MULTILINE)


def test_it_ends_by_itself_after_a_count_and_shows_only_drops_where_asked(
    cluster: Cluster, stations: tuple[Station, Station], tmp_path: Path
) -> None:
    near, far = stations
    with capturing(cluster, tmp_path, "--dropped", "--count", "2") as running:
        assert ping(near, far.addresses[0]) is not None
        for number in (0x79, 0x7A, 0x7B):
            send_from(near, ethernet_frame(parse_mac(far.mac), bytes((2, 0, 0, 0, 0, number))))
        assert running.process.wait(20) == 0
    lines = running.out.read_text().splitlines()
    assert len(lines) == 2
    assert all("DROPPED port_security" in line for line in lines)


def test_a_reader_that_sleeps_costs_frames_and_not_memory_or_traffic(
    cluster: Cluster, stations: tuple[Station, Station], tmp_path: Path
) -> None:
    near, far = stations
    pid = cluster.daemons[0].process.pid
    with capturing(cluster, tmp_path, "--json") as running:
        running.process.send_signal(signal.SIGSTOP)
        before = resident_bytes(pid)
        sent = transfer(near, far, far.addresses[0], size_bytes=60_000_000)
        assert sent.intact
        assert resident_bytes(pid) - before < 130 << 20
        running.process.send_signal(signal.SIGCONT)
        assert ping(near, far.addresses[0]) is not None
        running.end()
    found = re.search(r"(\d+) frames shown, (\d+) missed", running.err.read_text())
    assert found is not None


def resident_bytes(pid: int) -> int:
    """What a process holds of the machine's memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"process {pid} has ended")


def test_an_unknown_network_is_refused_in_a_sentence(cluster: Cluster) -> None:
    done = vxnet(cluster.daemons[0], "capture", "--network", "nowhere")
    assert done.returncode == 1
    assert "nowhere" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
