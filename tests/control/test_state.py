"""What a host remembers is replaced whole, and never half of it."""

import errno
import json
import os
from pathlib import Path

import pytest

from vxnet.control.state import PEERS_MAX, State, read_state, write_state
from vxnet.errors import HostError


def test_a_new_host_draws_an_identity_and_its_epoch_is_the_time(tmp_path: Path) -> None:
    one, two = (read_state(tmp_path / "none") for _ in range(2))
    assert one.node_id != two.node_id
    assert 1_700_000_000_000 < one.epoch <= two.epoch < 2**48


def test_what_is_written_is_read_in_a_later_life(tmp_path: Path) -> None:
    path = tmp_path / "state"
    written = State(5, 2**47, ("00ff00ff",), (("192.0.2.1", 7947), ("2001:db8::1", 1)))
    write_state(path, written)
    read = read_state(path)
    assert read.epoch == 2**47 + 1  # even where the clock went back
    assert (read.node_id, read.keys, read.peers) == (5, written.keys, written.peers)


def test_an_old_epoch_gives_way_to_the_time(tmp_path: Path) -> None:
    write_state(tmp_path / "state", State(5, 1))
    assert read_state(tmp_path / "state").epoch > 1_700_000_000_000


def test_what_a_later_version_added_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "state").write_text(json.dumps({"node_id": 5, "epoch": 1, "more": [1]}))
    assert read_state(tmp_path / "state").node_id == 5


def test_so_many_peers_are_remembered_and_no_more(tmp_path: Path) -> None:
    peers = tuple((f"192.0.2.{at % 250}", 7947) for at in range(500))
    write_state(tmp_path / "state", State(5, 1, (), peers))
    assert read_state(tmp_path / "state").peers == peers[:PEERS_MAX]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "state"
    write_state(path, State(5, 1))
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(HostError, match="cannot be written: No space left on device"):
        write_state(path, State(6, 2))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["state"]


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    write_state(tmp_path / "state", State(5, 1))
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0
