"""The log: one line an event, its fields readable by people and by programs."""

import json
import logging
from collections.abc import Iterator

import pytest

from tests.helpers.hosts import vtep_of
from vxnet.daemon.journal import ALARMS_MAX, STRANGERS_MAX, Journal, set_up_logging
from vxnet.gossip.events import (
    Alarm,
    AlarmKind,
    AlarmOver,
    EntryGone,
    Member,
    MemberChanged,
    MemberState,
    NodeId,
)
from vxnet.switch.actions import DuplicateIp, Learned, Looped, PortId
from vxnet.wire.addr import Mac, Vni, parse_ip

LOG = logging.getLogger("vxnet.tests")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("vxnet")
    handlers, levels = list(root.handlers), (root.level, ours.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def member(state: MemberState, *, local: bool = False) -> Member:
    return Member(NodeId(2), "host-b", state, vtep_of(2), ("192.0.2.2", 7947), 0.0, local=local)


def test_a_line_is_an_event_and_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", "text")
    LOG.info("member up", {"peer": "host b", "vtep": vtep_of(2), "count": 3, "empty": ""})
    time, rest = capsys.readouterr().err.strip().split(" ", 1)
    assert time.startswith("time=20")
    assert time.endswith("Z")
    assert rest == (
        'level=info event="member up" peer="host b" vtep=192.0.2.2:4789 count=3 empty=""'
    )


def test_a_name_cannot_forge_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", "text")
    LOG.info("member up", {"peer": 'x" level=error\nlevel=error'})
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith('peer="x\\" level=error\\nlevel=error"')


def test_a_line_can_be_json(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", "json")
    LOG.warning("alarm", {"vtep": vtep_of(2), "count": 3})
    fields = json.loads(capsys.readouterr().err)
    assert fields["level"] == "warning"
    assert (fields["event"], fields["vtep"], fields["count"]) == ("alarm", "192.0.2.2:4789", 3)


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_fault_is_written_with_its_traceback(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logging("info", form)
    try:
        raise ZeroDivisionError("by zero")
    except ZeroDivisionError:
        LOG.exception("a fault", {"path": "/"})
    assert "ZeroDivisionError: by zero" in capsys.readouterr().err


def test_levels_hold_for_us_and_libraries_speak_from_warnings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up_logging("error", "text")
    LOG.warning("quiet")
    logging.getLogger("aiohttp").info("quiet")
    logging.getLogger("aiohttp").warning("the %s is %d", "answer", 42)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith('event="the answer is 42"')


def test_members_that_come_and_go_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", "text")
    journal = Journal()
    journal.hear(
        [
            MemberChanged(member(MemberState.ALIVE), None),
            MemberChanged(member(MemberState.SUSPECT), MemberState.ALIVE),
            MemberChanged(member(MemberState.DEAD), MemberState.SUSPECT),
            MemberChanged(member(MemberState.LEFT), MemberState.DEAD),
            MemberChanged(member(MemberState.ALIVE, local=True), None),
            EntryGone(Vni(7), Mac(b"\2" * 6)),
        ]
    )
    said = [line.split(" ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert [line.split(" peer=")[0] for line in said] == [
        'level=info event="member up"',
        'level=warning event="member in doubt"',
        'level=warning event="member down"',
        'level=info event="member left"',
    ]


def test_an_alarm_is_logged_once_and_kept(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", "text")
    journal = Journal()
    journal.hear([Alarm(AlarmKind.DUPLICATE_NAME, "two hosts are called b")] * 3)
    assert capsys.readouterr().err.count("two hosts are called b") == 1
    assert journal.alarms() == ["two hosts are called b"]


def test_an_alarm_that_is_over_is_no_longer_shown(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", "text")
    journal = Journal()
    silent = "no seed has answered"
    journal.hear([Alarm(AlarmKind.SEEDS_SILENT, silent), Alarm(AlarmKind.DUPLICATE_NAME, "two")])
    journal.hear([AlarmOver(silent), AlarmOver(silent), AlarmOver("of nobody")])
    assert journal.alarms() == ["two"]
    assert capsys.readouterr().err.count("alarm over") == 1


def test_alarms_are_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    journal = Journal()
    set_up_logging("error", "text")
    journal.hear([Alarm(AlarmKind.DUPLICATE_IP, f"number {n}") for n in range(ALARMS_MAX + 5)])
    assert len(journal.alarms()) == ALARMS_MAX
    assert journal.alarms()[-1] == f"number {ALARMS_MAX + 4}"


def test_loops_and_addresses_claimed_twice_are_alarms() -> None:
    journal = Journal()
    one, two = Mac(b"\2\0\0\0\0\1"), Mac(b"\2\0\0\0\0\2")
    journal.see(
        [
            Learned(Vni(7), one, PortId(1)),
            Looped(Vni(7), one, PortId(2), PortId(1)),
            DuplicateIp(Vni(7), parse_ip("10.9.0.1"), one, PortId(1), two, vtep_of(2)),
        ]
    )
    loop, duplicate = journal.alarms()
    assert "joined outside, and port 2 is blocked" in loop
    assert "10.9.0.1 of VNI 7 is claimed by 02:00:00:00:00:01 (port 1 here)" in duplicate
    assert "02:00:00:00:00:02's (at 192.0.2.2:4789)" in duplicate


@pytest.mark.conformance("X16")
def test_strangers_are_logged_a_few_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", "text")
    journal = Journal()
    many = {vtep_of(number).ip: number for number in range(1, 200)}
    journal.meet(many)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == STRANGERS_MAX
    assert 'event="frames from an unknown VTEP" source=192.0.2.199 frames=199' in lines[0]
    journal.meet(many)
    assert capsys.readouterr().err == ""
    journal.meet({**many, vtep_of(5).ip: 8})
    assert "source=192.0.2.5 frames=3" in capsys.readouterr().err
