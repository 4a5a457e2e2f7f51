"""Programs the benchmarks start, and what becomes of them."""

from pathlib import Path

import pytest

from benchmarks.process import program, run, wait_until
from vxnet.errors import HostError


def test_a_program_ends_with_its_context(tmp_path: Path) -> None:
    with program(["sleep", "600"], tmp_path / "log") as running:
        assert running.is_alive()
    assert not running.is_alive()


def test_a_program_that_will_not_end_is_made_to(tmp_path: Path) -> None:
    words = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"]
    with program(words, tmp_path / "log", grace_s=0.2) as running:
        wait_until(lambda: "ready" in running.said(), "ready", running=running)
    assert not running.is_alive()


def test_waiting_ends_with_what_the_program_said_when_it_is_gone(tmp_path: Path) -> None:
    with (
        program(["sh", "-c", "echo no such key >&2; exit 3"], tmp_path / "log") as running,
        pytest.raises(HostError, match="ended before the moon: no such key"),
    ):
        wait_until(lambda: False, "the moon", running=running)


def test_waiting_has_an_end() -> None:
    with pytest.raises(HostError, match=r"the moon did not happen within 0\.1 s"):
        wait_until(lambda: False, "the moon", timeout_s=0.1)


def test_a_command_that_fails_says_what_it_said() -> None:
    with pytest.raises(HostError, match="ended with status 4: not today"):
        run(["sh", "-c", "echo not today >&2; exit 4"])


def test_a_command_gets_what_it_is_given() -> None:
    assert run(["cat"], given="a key") == "a key"
