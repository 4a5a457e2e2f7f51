"""`vxnet demo`: every check holds, and nothing is left behind, however it ends."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vxnet.demo.bed import DIRECTORY
from vxnet.demo.cluster import VXNET, wait_for
from vxnet.demo.drivers import PLUGINS
from vxnet.demo.leftovers import leftovers, prefixes
from vxnet.demo.processes import end_all, pids_mentioning

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]

CHECKS = {
    "members",
    "endpoints",
    "ping",
    "tcp",
    "udp",
    "broadcast",
    "isolation",
    "wire",
    "table",
    "move",
    "kill",
    "kernel",
}


@pytest.fixture
def demo() -> Iterator[subprocess.Popen[bytes]]:
    """A demo that has just begun."""
    program = start("--json")
    yield program
    end_all([program])


def start(*options: str) -> subprocess.Popen[bytes]:
    """Start a demo."""
    return subprocess.Popen(
        [*VXNET, "demo", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def prefix_of(program: subprocess.Popen[bytes]) -> str:
    """The prefix of a running demo, once its first daemon runs."""
    found: list[str] = []

    def daemon_runs() -> bool:
        for prefix in prefixes():
            daemons = pids_mentioning(f"{DIRECTORY / prefix}/h1/")
            if any(parent_of(pid) == program.pid for pid in daemons):
                found.append(prefix)
        return bool(found)

    wait_for(daemon_runs, 60, "the demo starts a daemon")
    return found[0]


def parent_of(pid: int) -> int:
    """The process that started this one; 0 where it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def document(program: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What a demo with --json says at its end."""
    output, _ = program.communicate(timeout=200)
    read: dict[str, Any] = json.loads(output)
    return read


def failed(read: dict[str, Any]) -> dict[str, str]:
    """What was seen in the checks that did not hold."""
    return {check["name"]: check["seen"] for check in read["checks"] if not check["ok"]}


@pytest.mark.parametrize("hosts", [2, 5])
def test_every_check_holds_and_nothing_is_left(hosts: int) -> None:
    program = start("--hosts", str(hosts), "--datapath", "pure", "--json")
    read = document(program)
    assert failed(read) == {}
    assert program.returncode == 0
    assert read["ok"] is True
    assert read["datapath"] == "pure"
    assert {check["name"] for check in read["checks"]} == CHECKS
    assert len(read["fdb"]) == hosts
    assert read["capture"]
    assert leftovers(read["prefix"]) == []


def test_every_driver_does_its_job_and_is_compared() -> None:
    program = start("--drivers", "--hosts", "2", "--datapath", "pure", "--json")
    read = document(program)
    assert failed(read) == {}
    assert program.returncode == 0
    assert {check["name"] for check in read["checks"]} == {
        *("overlay", "bridge", "published", "internal", "isolated"),
        *("macvlan", "ipvlan", "host", "none", "remote"),
    }
    rows = {row["driver"]: row for row in read["drivers"]}
    assert set(rows) == {"overlay", "bridge", "macvlan", "ipvlan", "host", "none", "remote"}
    for name in ("overlay", "bridge", "macvlan", "host", "remote"):
        assert rows[name]["gigabits_per_second"] > 0
        assert rows[name]["rtt_ms"] > 0
    assert leftovers(read["prefix"]) == []
    assert not (PLUGINS / f"{read['prefix']}.sock").exists()


def test_a_service_outlives_a_member_and_a_host() -> None:
    program = start("--services", "--json")
    read = document(program)
    assert failed(read) == {}
    assert program.returncode == 0
    checks = {check["name"]: check["details"] for check in read["checks"]}
    assert set(checks) == {
        *("members", "service", "name", "balance", "published", "member", "host")
    }
    assert checks["balance"]["failed"] == checks["published"]["failed"] == []
    for killed in ("member", "host"):
        assert checks[killed]["begun_after"] > 0
        assert len(checks[killed]["failed"]) <= checks[killed]["under_way"]
        assert checks[killed]["failed_that_began_after"] == 0
    answered = {row["member"]: row["answered"]["by address"] for row in read["members"]}
    assert len(answered) == 6
    assert min(answered.values()) > 0
    assert leftovers(read["prefix"]) == []


def test_a_demo_is_of_one_kind() -> None:
    program = start("--services", "--drivers")
    _, said = program.communicate(timeout=60)
    assert program.returncode == 1
    assert b"not both" in said
    assert b"Traceback" not in said


def test_nothing_is_left_after_ctrl_c(demo: subprocess.Popen[bytes]) -> None:
    prefix = prefix_of(demo)
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=60)
    assert demo.returncode not in (0, None)
    assert leftovers(prefix) == []


def test_a_daemon_killed_in_the_middle_fails_a_check_and_leaves_nothing(
    demo: subprocess.Popen[bytes],
) -> None:
    prefix = prefix_of(demo)
    wait_for(lambda: Path(DIRECTORY, prefix, "h2", "vxnet.sock").exists(), 60, "h2's daemon is up")
    time.sleep(1.0)
    [pid] = [
        pid for pid in pids_mentioning(f"{DIRECTORY / prefix}/h2/") if parent_of(pid) == demo.pid
    ]
    os.kill(pid, signal.SIGKILL)
    read = document(demo)
    assert demo.returncode == 1
    assert read["ok"] is False
    assert failed(read)
    assert leftovers(prefix) == []


def test_a_demo_that_runs_is_not_removed(demo: subprocess.Popen[bytes]) -> None:
    prefix = prefix_of(demo)
    refused = subprocess.run(
        [*VXNET, "demo", "--remove", prefix],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 1
    assert f"demo {prefix} still runs" in refused.stderr
    assert document(demo)["ok"]


def test_a_kept_demo_runs_on_until_it_is_removed() -> None:
    program = start("--hosts", "2", "--datapath", "pure", "--keep")
    output, _ = program.communicate(timeout=200)
    assert program.returncode == 0, output.decode()
    # What is said first is of the beds of other tests, if there are any.
    prefix = re.findall(rb"vxnet demo --remove (vx[0-9a-f]{6})", output)[-1].decode()
    assert f"namespace {prefix}-h1" in leftovers(prefix)
    removed = subprocess.run(
        [*VXNET, "demo", "--remove", prefix], capture_output=True, text=True, timeout=60, check=True
    )
    assert f"namespace {prefix}-h1" in removed.stdout
    assert leftovers(prefix) == []


def test_without_root_the_demo_says_that_it_needs_it() -> None:
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    done = subprocess.run(
        [*nobody, *VXNET, "demo"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "root" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("capability", ["sys_admin", "net_admin"])
def test_root_that_may_not_make_namespaces_is_told_and_leaves_nothing(capability: str) -> None:
    lesser_root = ["setpriv", f"--bounding-set=-{capability}"]
    done = subprocess.run(
        [*lesser_root, *VXNET, "demo"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    found = re.search(r"namespace (vx[0-9a-f]{6})-h1 cannot be made", done.stderr)
    assert found is not None
    assert leftovers(found[1]) == []


def test_without_its_tools_the_demo_says_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [*VXNET, "demo"],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "util-linux iputils-ping" in done.stderr
