"""A demo's report: it is ok only if every check held, and says so to people and programs."""

import io
import json

import pytest
from rich.console import Console

from vxnet.demo.capture import Sighting
from vxnet.demo.report import Report, Result, TableRow
from vxnet.demo.run import HOSTS_MAX, Options
from vxnet.demo.show import Live, kept, summary
from vxnet.errors import StateError

SIGHTING = Sighting(
    at_s=0.25,
    outer_source="192.0.2.1",
    outer_target="192.0.2.2",
    udp_source_port=50_000,
    udp_target_port=4789,
    vni=4711,
    inner="Ether / IP / ICMP 10.9.0.1 > 10.9.0.2 echo-request 0 / Raw",
    inner_bytes=98,
    inner_checksums_ok=True,
)
ROW = TableRow("blue", "02:00:00:00:00:01", ("10.9.0.1",), "192.0.2.2:4789", "control")


def result(name: str, *, ok: bool) -> Result:
    """A check that was made."""
    return Result(name, f"Title of {name}", ok, f"[seen by {name}]", 0.5, {"number": 7})


def report(*oks: bool) -> Report:
    """A report with checks that held and others that did not."""
    results = [result(f"check{n}", ok=ok) for n, ok in enumerate(oks)]
    return Report("vx012345", 3, "pure", results, [SIGHTING], {"h1": [ROW]}, seconds=1.5)


def printed(shown: Report) -> str:
    """The summary as a wide terminal has it."""
    console = Console(file=io.StringIO(), width=200)
    console.print(summary(shown))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("oks", "ok"), [((True, True), True), ((True, False), False), ((False,), False), ((), False)]
)
def test_a_report_is_ok_only_if_there_were_checks_and_all_held(
    oks: tuple[bool, ...], ok: bool
) -> None:
    assert report(*oks).ok is ok


def test_the_document_has_an_ok_per_check_and_what_was_seen() -> None:
    read = json.loads(report(True, False).to_json())
    assert read["ok"] is False
    assert [(c["name"], c["ok"]) for c in read["checks"]] == [("check0", True), ("check1", False)]
    assert read["checks"][0]["details"] == {"number": 7}
    assert read["capture"][0]["vni"] == 4711
    assert read["fdb"]["h1"][0]["behind"] == "192.0.2.2:4789"


def test_the_summary_names_each_check_each_station_and_each_packet() -> None:
    text = printed(report(True, False))
    assert "1 of 2 checks held" in text
    assert "FAIL" in text
    assert "[seen by check0]" in text
    assert "VNI 4711" in text
    assert "02:00:00:00:00:01" in text


def test_a_long_capture_is_listed_in_part_and_says_so() -> None:
    shown = report(True)
    shown.sightings = [SIGHTING] * 40
    assert "… and 24 more" in printed(shown)


def test_progress_says_each_check_as_it_is_made() -> None:
    console = Console(file=io.StringIO(), width=200)
    with Live(console) as live:
        live.began("Something [odd]")
        live.ended(result("one", ok=True))
        live.ended(result("two", ok=False))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "ok   Title of one: [seen by one]" in text
    assert "FAIL Title of two: [seen by two]" in text


def test_what_is_kept_says_how_to_enter_and_how_to_remove_it() -> None:
    text = str(kept(report(True)))
    assert "nsenter --net=/run/netns/vx012345-h1" in text
    assert "vxnet demo --remove vx012345" in text


@pytest.mark.parametrize("hosts", [-1, 0, 1, HOSTS_MAX + 1])
def test_a_demo_that_could_show_nothing_is_refused(hosts: int) -> None:
    with pytest.raises(StateError, match=f"not {hosts}"):
        Options(hosts=hosts)
