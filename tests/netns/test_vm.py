"""Real virtual machines: what this kernel may lack is tried on Debian's, and one is an endpoint.

Both machines boot at once, under emulation where nothing better works.
"""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.disk import pack
from lab.vm import Vm

from tests.helpers.clusters import SUBNETS, cluster_on, vxnet
from vxnet.demo.cluster import Cluster
from vxnet.demo.traffic import ping

pytestmark = [pytest.mark.netns, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
TAP = "tap,ifname=vm0,script=no,downscript=no"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two hosts, a network on both."""
    with cluster_on(2) as built:
        built.daemons[0].create_network("blue", SUBNETS)
        built.wait_for_network("blue")
        yield built


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk that holds the package, and what is run there."""
    folder = tmp_path_factory.mktemp("vm")
    ignore = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(ROOT / "vxnet", folder / "code" / "vxnet", ignore=ignore)
    shutil.copy(ROOT / "tests/helpers/inside_vm.py", folder / "code")
    pack(folder / "code", folder / "disk", "64M")
    return folder / "disk"


def test_ipvlan_and_vlans_work_on_a_kernel_that_has_them(code: Path) -> None:
    with Vm("drivers", disks=[code]) as vm:
        vm.wait_until_up()
        done = vm.run(
            "mount -o ro /dev/vdb /mnt && cd /mnt && "
            "PYTHONPATH=/mnt PATH=/opt/vxnet/bin:$PATH python inside_vm.py",
            timeout_s=600,
        )
    seen = json.loads(done.out.splitlines()[-1])
    assert set(seen) == {"ipvlan l2", "ipvlan l3", "ipvlan l3s", "macvlan vlan"}
    assert not [text for text in seen.values() if text.startswith("FAILED")], seen


def test_a_machine_on_a_tap_is_a_station_of_the_network(cluster: Cluster) -> None:
    daemon, other = cluster.daemons
    far = other.attach("blue", name="far")
    with_nic = Vm("guest", nics=[TAP], entered=("nsenter", f"--net={daemon.host.path}", "--"))
    done = vxnet(
        daemon, "attach", "blue", "--tap", "vm0", "--name", "vm", "--mac", with_nic.macs[0]
    )
    assert done.returncode == 0, done.stderr
    address = next(a for a in daemon.client.endpoint("vm").addresses if ":" not in a)
    with with_nic as vm:
        vm.wait_until_up()
        vm.run(f"ip link set eth0 up mtu 1450 && ip addr add {address} dev eth0")
        said = vm.run(f"ping -c 3 -W 10 {far.addresses[0]}").out
        assert re.search(r" 0% packet loss", said), said
        assert ping(far, address.split("/")[0]) is not None
        # A megabyte of TCP to the machine, cut and joined on the way as any other.
        server = far.sandbox.popen(["sh", "-c", "head -c 1000000 /dev/zero | nc -l -N -p 5000"])
        count = vm.run(
            "/opt/vxnet/bin/python -c 'import socket\n"
            f'with socket.create_connection(("{far.addresses[0]}", 5000), 60) as s:\n'
            "    print(sum(iter(lambda: len(s.recv(65536)), 0)))'"
        ).out
        assert count.strip() == "1000000"
        server.kill()
    daemon.client.remove_endpoint("vm")
    assert "vm0" not in daemon.host.run(["ip", "-o", "link"]).stdout
