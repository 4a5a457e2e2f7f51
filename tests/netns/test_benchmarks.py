"""The benchmark, for a second: real namespaces, real traffic, kernel VXLAN only; and gossip."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.bed import abandoned, sweep, two_hosts
from benchmarks.lock import alone
from benchmarks.process import wait_until
from benchmarks.questions.footprint import Footprint
from benchmarks.results import Results
from vxnet.demo.leftovers import leftovers

pytestmark = pytest.mark.netns

ROOT = Path(__file__).parents[2]


def bench(module: str, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def has_ended(pid: str) -> bool:
    """Gone, or waiting for a parent to take note of it: in a container that may be nobody."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_short_run_answers_every_question_and_leaves_nothing_behind(tmp_path: Path) -> None:
    words = ("--peer", "kernel", "--rounds", 1, "--seconds", 1, "--report", tmp_path)
    done = bench("benchmarks", *words)
    assert done.returncode == 0, done.stderr
    results = Results.load(tmp_path / "results.json")
    asked = {metric.key for metric in results.metrics if metric.topic != Footprint().title}
    answers = {answer.metric: answer.value.median for answer in results.answers()}
    assert set(answers) == asked  # kernel VXLAN has no programs to weigh
    assert all(value > 0 for key, value in answers.items() if not key.endswith(".lost"))
    assert (tmp_path / "report.html").exists()
    assert abandoned() == []


def test_a_table_of_a_thousand_entries_is_programmed_weighed_and_replaced(tmp_path: Path) -> None:
    words = ("--peer", "pure-1000", "--question", "table", "--question", "upheaval")
    done = bench("benchmarks.scale", *words, "--quick", "--json", tmp_path / "run.json")
    assert done.returncode == 0, done.stderr
    answers = {a.metric: a.value.median for a in Results.load(tmp_path / "run.json").answers()}
    assert set(answers) == {
        "table.programming",
        "table.bytes",
        "upheaval.p50",
        "upheaval.longest",
    }
    assert answers["upheaval.longest"] >= answers["upheaval.p50"] > 0


@pytest.mark.timeout(300)  # a partition must first be noticed
def test_three_agents_answer_what_is_asked_of_members(tmp_path: Path) -> None:
    words = ("--peer", "vxnet-3", "--question", "join", "--question", "update")
    words += ("--question", "cost", "--question", "kill", "--question", "heal")
    done = bench("benchmarks.gossip", *words, "--rounds", 1, "--seconds", 3, "--report", tmp_path)
    assert done.returncode == 0, done.stderr
    results = Results.load(tmp_path / "results.json")
    answers = {answer.metric: answer.value.median for answer in results.answers()}
    assert set(answers) == {metric.key for metric in results.metrics}
    assert answers.pop("update.lost") == 0
    assert {key: value for key, value in answers.items() if value <= 0} == {}
    assert (tmp_path / "headline.png").exists()


def test_four_agents_hold_many_stations_and_move_some(tmp_path: Path) -> None:
    words = ("--peer", "vxnet-4", "--question", "burst", "--question", "move")
    words += ("--question", "join", "--rounds", 1, "--seconds", 1)
    done = bench("benchmarks.gossip", *words, "--json", tmp_path / "run.json")
    assert done.returncode == 0, done.stderr
    answers = {a.metric: a.value.median for a in Results.load(tmp_path / "run.json").answers()}
    assert set(answers) == {"burst.s", "move.p50", "move.p99"}  # those are not there to be members
    assert answers["move.p99"] >= answers["move.p50"] > 0


def test_what_a_killed_run_left_behind_is_swept_by_the_next(tmp_path: Path) -> None:
    with alone(lambda: None), two_hosts() as standing:
        script = (
            "import time; from benchmarks.bed import two_hosts\n"
            "from benchmarks.process import program; from pathlib import Path; import sys\n"
            "with two_hosts() as bed, program(['sleep', '600'], Path(sys.argv[1])) as running:\n"
            "    print(bed.prefix, running.pid, flush=True); time.sleep(600)"
        )
        killed = subprocess.Popen(
            [sys.executable, "-c", script, tmp_path / "log"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert killed.stdout is not None
        prefix, pid = killed.stdout.readline().split()
        killed.kill()
        killed.communicate()
        wait_until(lambda: has_ended(pid), "its program ending with it")
        assert leftovers(prefix)
        sweep()
        assert leftovers(prefix) == []
        assert leftovers(standing.prefix)


def test_dockers_calls_are_timed_by_their_kind() -> None:
    done = bench("benchmarks.plugin", "--cycles", 4, "--at-once", 2)
    assert done.stderr == ""
    rows = [line.split() for line in done.stdout.splitlines()]
    counts = {row[0]: int(row[1]) for row in rows[1:] if row[1].isdigit()}
    for kind in ("CreateEndpoint", "Join", "ProgramExternalConnectivity", "Leave"):
        assert counts[kind] == 4
    assert counts["EndpointOperInfo"] == 8
    assert abandoned() == []


def test_each_way_to_publish_a_port_carries_data_and_leaves_nothing_behind() -> None:
    done = bench("benchmarks.published", "--rounds", 1, "--seconds", 1)
    assert done.returncode == 0, done.stderr
    medians = {words[0]: words[1:] for words in map(str.split, done.stdout.splitlines()[-3:])}
    assert set(medians) == {"routed", "nftables", "relay"}
    for megabits, _, connections, failed in medians.values():
        assert float(megabits) > 0
        assert float(connections) > 0
        assert float(failed) == 0
    assert not list(Path("/run/netns").glob("vxpub*"))


def test_containers_that_start_at_once_are_timed_beside_dockers_bridge() -> None:
    done = bench("benchmarks.containers", "--count", 2)
    assert (done.returncode, done.stderr) == (0, "")
    titles = [line.rpartition("  ")[0].strip() for line in done.stdout.splitlines()]
    assert [title.split("  ")[0] for title in titles[1:]] == [
        "no network",
        "Docker's bridge",
        "vxnet, one network",
        "vxnet, 5 networks",
    ]
    assert abandoned() == []
