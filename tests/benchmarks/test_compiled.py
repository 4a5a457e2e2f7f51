"""The compiled copy of the simulator: made when its sources change, and never half."""

from pathlib import Path

import pytest

from benchmarks import compiled
from vxnet.errors import HostError


def test_where_nothing_compiles_a_sentence_says_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "/bin/false")
    (tmp_path / compiled.STAMP).write_text(compiled.digest())
    assert compiled.current(tmp_path)
    with pytest.raises(HostError, match="gcc and python3-dev"):
        compiled.build(tmp_path)
    assert not compiled.current(tmp_path)


def test_a_copy_of_other_sources_is_not_current(tmp_path: Path) -> None:
    assert not compiled.current(tmp_path)
    (tmp_path / compiled.STAMP).write_text("of others")
    assert not compiled.current(tmp_path)


def test_a_copy_that_behaves_otherwise_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy's storm is another one here: the copy would say nothing about the gossip."""
    monkeypatch.setattr(compiled, "SETUP", "{modules}")
    monkeypatch.setattr(
        compiled, "STORM", "import vxnet.sim, sys; print(vxnet.sim.__file__, end='')"
    )
    with pytest.raises(HostError, match="would say nothing about the gossip"):
        compiled.build(tmp_path)
    assert not compiled.current(tmp_path)


def test_a_directory_that_cannot_be_made_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(HostError, match="/proc/nowhere"):
        compiled.main(["/proc/nowhere"])
