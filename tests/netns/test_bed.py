"""The bed: hosts that reach each other, and nothing left of them afterwards."""

import os
import signal
import subprocess
import sys

import pytest

from vxnet.demo.bed import UNDERLAY, Bed
from vxnet.demo.leftovers import leftovers, remove
from vxnet.errors import HostError, StateError

pytestmark = pytest.mark.netns

HOLD = """
import sys, time
from vxnet.demo.bed import Bed
with Bed(hosts=2, prefix=sys.argv[1]) as bed:
    bed[0].popen(["sleep", "600"])
    bed[1].sandbox("red").popen(["sleep", "600"])
    print("ready", flush=True)
    time.sleep(600)
"""


def reaches(bed: Bed, source: int, target: int) -> bool:
    """Whether a ping from one host to another is answered."""
    ping = ["ping", "-c", "1", "-W", "1", bed[target].vtep4]
    return bed[source].run(ping, check=False).returncode == 0


def hold_a_bed(prefix: str) -> subprocess.Popen[bytes]:
    """A program that has built a bed and waits."""
    program = subprocess.Popen([sys.executable, "-c", HOLD, prefix], stdout=subprocess.PIPE)
    assert program.stdout is not None
    assert program.stdout.readline() == b"ready\n"
    return program


def test_every_host_reaches_every_other_over_ipv4_and_ipv6() -> None:
    with Bed(hosts=3) as bed:
        for source in bed.hosts:
            for target in bed.hosts:
                source.run(["ping", "-c", "1", "-W", "2", target.vtep4])
                source.run(["ping", "-c", "1", "-W", "2", target.vtep6])


def test_two_hosts_may_be_joined_by_one_cable() -> None:
    with Bed(hosts=2, direct=True, mtu=9000) as bed:
        bed[0].run(["ping", "-c", "1", "-M", "do", "-s", "8972", bed[1].vtep4])
        assert "mtu 9000" in bed[1].run(["ip", "link", "show", UNDERLAY]).stdout


def test_a_host_does_not_forward_whatever_the_machine_does() -> None:
    with Bed(hosts=1) as bed:
        for box in (bed[0], bed[0].sandbox("red")):
            assert box.run(["cat", "/proc/sys/net/ipv4/ip_forward"]).stdout.strip() == "0"


def test_a_partition_parts_the_groups_until_it_is_healed() -> None:
    with Bed(hosts=3) as bed:
        bed.partition(bed.hosts[:1], bed.hosts[1:])
        assert not reaches(bed, 0, 1)
        assert reaches(bed, 1, 2)
        bed.heal()
        assert reaches(bed, 0, 1)


def test_nothing_is_left_after_a_failure_inside() -> None:
    bed = Bed(hosts=2)

    def fail_inside() -> None:
        with bed:
            bed[0].sandbox("red").popen(["sleep", "600"])
            bed[1].run(["false"])

    with pytest.raises(HostError, match="`false`"):
        fail_inside()
    assert leftovers(bed.prefix) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_after_a_signal(number: signal.Signals) -> None:
    prefix = f"vx{os.getpid() & 0xFFFFFF:06x}"
    program = hold_a_bed(prefix)
    assert len(leftovers(prefix)) >= 6  # two hosts, a switch, a sandbox, a directory, two sleepers
    program.send_signal(number)
    program.communicate(timeout=30)
    assert program.returncode != 0
    assert leftovers(prefix) == []


def test_what_a_killed_program_left_is_found_and_removed() -> None:
    prefix = f"vx{os.getpid() & 0xFFFFFF:06x}"
    program = hold_a_bed(prefix)
    program.kill()
    program.communicate()
    assert leftovers(prefix)
    assert remove(prefix)
    assert leftovers(prefix) == []


def test_a_kept_bed_stands_until_it_is_removed() -> None:
    with Bed(hosts=1) as bed:
        bed.keep()
    assert f"namespace {bed[0].name}" in leftovers(bed.prefix)
    remove(bed.prefix)
    assert leftovers(bed.prefix) == []


def test_a_command_that_fails_says_what_it_said() -> None:
    with Bed(hosts=1) as bed, pytest.raises(HostError, match="does not exist"):
        bed[0].run(["ip", "link", "show", "dev", "nosuch0"])


def test_only_a_beds_own_prefix_is_removed() -> None:
    with pytest.raises(StateError, match="six hexadecimal digits"):
        remove("vx")


def test_one_cable_joins_two_hosts_only() -> None:
    with pytest.raises(StateError, match="joins 2 hosts, not 3"):
        Bed(hosts=3, direct=True)


def test_a_bed_puts_no_device_into_the_machines_own_namespace() -> None:
    before = set(os.listdir("/sys/class/net"))
    with Bed(hosts=2):
        assert set(os.listdir("/sys/class/net")) == before
