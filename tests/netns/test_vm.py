"""Virtual machines: a guest on an endpoint's TAP, and one with what other kernels may lack."""

import hashlib
import json
import os
import shutil
import socket
import sys
from typing import Any

import pytest

from tests.helpers.clusters import SUBNETS, cluster_on, vxnet
from tests.lab.command import run
from tests.lab.debian import ROOT
from tests.lab.disk import disk, pack
from tests.lab.guest import Guest
from tests.lab.package import wheel
from vxnet.demo.cluster import wait_for
from vxnet.demo.station import Station
from vxnet.demo.traffic import ping

# Machines are emulated where there is no KVM, and the first time their Debian has to be made.
pytestmark = [pytest.mark.netns, pytest.mark.timeout(900)]

PATIENCE_S = 120.0
MAC = "52:54:00:12:34:56"
OCTETS = 8_000_000

ON_THE_TAP = """
ip address add $ipv4 dev eth0
ip -6 address add $ipv6 dev eth0
ip link set eth0 up
echo "mtu: $(cat /sys/class/net/eth0/mtu)"
until ping -c 1 -W 1 $peer4 >/dev/null; do sleep 0.1; done
until ping6 -c 1 -W 1 $peer6 >/dev/null; do sleep 0.1; done
echo "pings: $peer4 $peer6"
head -c $octets /dev/urandom >/tmp/data
nc $peer4 $port </tmp/data >/tmp/answer
echo "sent: $(sha256sum </tmp/data)"
echo "received: $(sha256sum </tmp/answer)"
sleep 86400
"""

TO_DEBIAN = """
mkdir /new
mount -t ext4 -o noatime /dev/vda /new
mount -t ext4 -o ro /dev/vdb /new/mnt
for place in dev proc sys; do mount --move /$place /new/$place; done
for place in run tmp; do mount -t tmpfs $place /new/$place; done
exec switch_root /new /bin/sh /mnt/begin
"""
IN_DEBIAN = """
export PATH=/usr/sbin:/usr/bin:/sbin:/bin PYTHONPATH=/mnt/site
ip link set lo up
modprobe tun
/opt/vxnet/bin/python /mnt/program.py
echo "ended: $?"
sleep 86400
"""
"""Debian without its systemd, which would take longer to start than all that is tried."""


def swap(listener: socket.socket, data: bytes) -> str:
    """Take all that a client sends, then send it this; the digest of what was taken."""
    connection, _ = listener.accept()
    digest = hashlib.sha256()
    with connection:
        connection.settimeout(PATIENCE_S)
        while received := connection.recv(1 << 16):
            digest.update(received)
        connection.sendall(data)
    return digest.hexdigest()


def answers(far: Station, addresses: list[str]) -> bool:
    return all(ping(far, address, wait_s=1) is not None for address in addresses)


@pytest.mark.parametrize("datapath", ["pure", "native"])
def test_a_guest_on_a_tap_is_a_station_like_any_other(datapath: str) -> None:
    with cluster_on(2, datapath=datapath) as cluster:
        daemon, other = cluster.daemons
        daemon.create_network("blue", SUBNETS)
        cluster.wait_for_network("blue")
        far = other.attach("blue", name="far")
        done = vxnet(daemon, "attach", "blue", "--tap", "vm0", "--name", "vm", "--mac", MAC)
        assert done.returncode == 0, done.stderr
        ipv4, ipv6 = sorted(daemon.client.endpoint("vm").addresses, key=lambda a: ":" in a)
        addresses = [ipv4.split("/")[0], ipv6.split("/")[0]]
        data = os.urandom(OCTETS)
        with far.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.bind((far.addresses[0], 0))
            listener.listen()
            listener.settimeout(PATIENCE_S)
            with Guest(
                "tap",
                ON_THE_TAP,
                nic=(
                    "tap,ifname=vm0,script=no,downscript=no",
                    f"mac={MAC},host_mtu=1450,romfile=",
                ),
                values={
                    "ipv4": ipv4,
                    "ipv6": ipv6,
                    "peer4": far.addresses[0],
                    "peer6": far.addresses[1],
                    "port": str(listener.getsockname()[1]),
                    "octets": str(OCTETS),
                },
                entered=("nsenter", f"--net={daemon.host.path}", "--"),
            ) as guest:
                guest.wait_until_said("pings", PATIENCE_S)
                assert guest.said()["mtu"] == "1450"
                arrived = swap(listener, data)
                received = guest.wait_until_said("received", PATIENCE_S).split()[0]
                assert arrived == guest.said()["sent"].split()[0]
                assert received == hashlib.sha256(data).hexdigest()
                assert answers(far, addresses)

                daemon.kill()
                daemon.start()
                daemon.wait_until_ready()
                wait_for(lambda: answers(far, addresses), PATIENCE_S, "the guest answers again")
                assert daemon.client.verify().ok
        daemon.client.remove_endpoint("vm")
        assert "vm0" not in daemon.host.run(["ip", "-o", "link"]).stdout


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two hosts with ipvlan and 802.1Q saw, inside a VM that has them."""
    directory = tmp_path_factory.mktemp("vm")
    content = directory / "content"
    content.mkdir()
    (built,) = wheel().glob("*.whl")
    run(sys.executable, "-m", "zipfile", "-e", built, content / "site")
    # An emulated machine takes a minute to compile what is read-only to it, at every start.
    compiled = (
        "compileall",
        "-q",
        "--invalidation-mode",
        "unchecked-hash",
        "-s",
        content,
        "-p",
        "/mnt",
    )
    run(sys.executable, "-m", *compiled, content / "site")
    shutil.copy(ROOT / "tests/helpers/ipvlan_in_vm.py", content / "program.py")
    (content / "begin").write_text(IN_DEBIAN)
    pack(content, directory / "payload", "64M")
    disks = (disk(), directory / "payload")
    with Guest("ipvlan", TO_DEBIAN, disks=disks, memory_mb=768, processors=2) as guest:
        status = guest.wait_until_said("ended", 800.0)
        said = "\n".join(guest.lines())
    print(said)
    assert status == "0", said
    return dict(json.loads(line) for line in said.splitlines() if line.startswith("["))


def test_a_kernel_that_has_everything_lacks_nothing(seen: dict[str, Any]) -> None:
    assert {"ipvlan", "macvlan"} <= set(seen["lacks"])
    assert not any(seen["lacks"].values())


@pytest.mark.parametrize("mode", ["l2", "l3", "l3s"])
def test_ipvlan_carries_on_one_host_and_across_hosts(seen: dict[str, Any], mode: str) -> None:
    assert seen[f"{mode} on one host"] == [True, True]
    assert seen[f"{mode} across hosts"] == [True] * 4
    assert seen[f"{mode} carries"]


def test_endpoints_of_ipvlan_have_their_parents_mac(seen: dict[str, Any]) -> None:
    assert [ok for tried, ok in seen.items() if tried.endswith("its parent's MAC")] == [True] * 3


def test_a_parent_has_one_mode_at_a_time(seen: dict[str, Any]) -> None:
    for when in ("on a parent in use", "after a kill -9"):
        assert "is in use in mode l2" in seen[f"another mode {when}"]
    assert seen["l2 goes on"] == [True, True]


def test_ipvlan_goes_on_without_a_daemon_and_with_the_next(seen: dict[str, Any]) -> None:
    assert seen["after a kill -9"] == [True] * 4


def test_a_vlan_is_a_device_of_its_own_with_the_tag(seen: dict[str, Any]) -> None:
    for driver in ("macvlan", "ipvlan"):
        assert seen[f"{driver} on a VLAN"] == [True, True]
        assert seen[f"{driver} on a VLAN has the tag"]


def test_nothing_of_ipvlan_is_left(seen: dict[str, Any]) -> None:
    assert seen["left in a sandbox"] == ["lo"]
    assert seen["left"] == seen["before"]
