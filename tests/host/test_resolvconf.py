"""The resolv.conf of named namespaces: ours come and go, others' stay."""

from pathlib import Path

from vxnet.host.resolvconf import provide, sweep, withdraw


def test_a_file_of_ours_goes_again_and_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs" / "resolv.conf"
    theirs.parent.mkdir()
    theirs.write_text("nameserver 192.0.2.53\n")
    for name in ("ours", "theirs"):
        provide(name, ["10.9.0.254"], tmp_path)
    assert "nameserver 10.9.0.254" in (tmp_path / "ours" / "resolv.conf").read_text()
    for name in ("ours", "theirs"):
        withdraw(name, tmp_path)
    assert not (tmp_path / "ours").exists()
    assert theirs.read_text() == "nameserver 192.0.2.53\n"


def test_what_a_killed_daemon_left_goes_once_the_namespace_is_gone(tmp_path: Path) -> None:
    directory, namespaces = tmp_path / "etc", tmp_path / "run"
    (namespaces / "here").mkdir(parents=True)
    for name in ("here", "gone"):
        provide(name, ["10.9.0.254"], directory)
    (directory / "theirs").mkdir()
    (directory / "theirs" / "resolv.conf").write_text("nameserver 192.0.2.53\n")
    assert sweep(directory, namespaces) == ["gone"]
    assert sorted(path.name for path in directory.iterdir()) == ["here", "theirs"]
    assert sweep(directory, tmp_path / "none") == []
