"""The store: what was put is there after a restart, and what is wrong with it is a sentence."""

import sqlite3
from pathlib import Path

import pytest

from vxnet.errors import HostError
from vxnet.host import store as store_module
from vxnet.host.store import SCHEMA_VERSION, open_store


async def test_what_was_put_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state" / "vxnet.db"
    store = await open_store(path)
    await store.put("network", "b", b"2")
    await store.put("network", "a", b"1")
    await store.put("endpoint", "a", b"other")
    await store.put("network", "a", b"3")
    await store.close()
    again = await open_store(path)
    assert await again.rows("network") == [("a", b"3"), ("b", b"2")]
    assert await again.rows("endpoint") == [("a", b"other")]
    assert await again.rows("none") == []
    await again.close()


async def test_what_was_deleted_is_gone_and_deleting_twice_is_nothing(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "vxnet.db")
    await store.put("network", "a", b"1")
    await store.delete("network", "a")
    await store.delete("network", "a")
    assert await store.rows("network") == []
    await store.close()


async def test_it_writes_ahead_and_waits_for_the_disk(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "vxnet.db")
    await store.put("network", "a", b"1")
    assert (tmp_path / "vxnet.db-wal").stat().st_size > 0
    # Without a clean end, as after kill -9, another process reads what was answered for.
    with sqlite3.connect(tmp_path / "vxnet.db") as other:
        assert other.execute("SELECT value FROM item").fetchall() == [(b"1",)]
    other.close()
    await store.close()


async def test_a_damaged_file_is_a_sentence_with_its_mend(tmp_path: Path) -> None:
    path = tmp_path / "vxnet.db"
    path.write_bytes(b"this is not a database at all, but long enough to be looked at" * 20)
    with pytest.raises(HostError, match=r"is damaged .* move it away and start again"):
        await open_store(path)


async def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "vxnet.db"
    newer = sqlite3.connect(path)
    newer.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    newer.close()
    before = path.read_bytes()
    with pytest.raises(HostError, match="written by a newer vxnet"):
        await open_store(path)
    other = sqlite3.connect(path)
    assert other.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION + 1,)
    other.close()
    assert before[60:64] == path.read_bytes()[60:64]


async def test_a_locked_file_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "LOCK_PATIENCE_S", 0.1)
    path = tmp_path / "vxnet.db"
    store = await open_store(path)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(HostError, match="is locked by another process"):
        await store.put("network", "a", b"1")
    holder.execute("ROLLBACK")
    holder.close()
    await store.put("network", "a", b"1")
    await store.close()


async def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match=r"cannot be made: .*; choose another node\.state_dir"):
        await open_store(tmp_path / "file" / "vxnet.db")
    (tmp_path / "vxnet.db").mkdir()
    with pytest.raises(HostError, match="cannot be opened for writing"):
        await open_store(tmp_path / "vxnet.db")


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "vxnet.db")
    await store.close()
    await store.close()
    with pytest.raises((HostError, RuntimeError)):
        await store.put("network", "a", b"1")
