"""What is in deploy/, as systemd, Vagrant and vxnet itself read it."""

import os
import re
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.repo.tree import ROOT
from vxnet.cnm.model import EndpointId, device_name
from vxnet.config import parse

DEPLOY = ROOT / "deploy"
SERVICES = ("vxnet.service", "vxnet-docker.service")
EXPOSURE_MOST = 3.0


@pytest.mark.parametrize("name", [*SERVICES, "vxnet-docker.socket"])
def test_systemd_finds_nothing_to_say_about_the_units(name: str, tmp_path: Path) -> None:
    # It looks whether the programs are there, which they are only after an installation.
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for path in DEPLOY.glob("*.s[eo]*"):
        text = re.sub(r"/opt/vxnet/bin/\w+", str(program), path.read_text(encoding="utf-8"))
        (tmp_path / path.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / name], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", SERVICES)
def test_the_units_expose_little(name: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", DEPLOY / name],
        capture_output=True,
        text=True,
    )
    found = re.search(rf"Overall exposure level for {name}: ([0-9.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) <= EXPOSURE_MOST


@pytest.mark.parametrize("name", ["vxnet.service", "docker.conf"])
def test_every_capability_that_the_unit_has_is_explained(name: str) -> None:
    text = (DEPLOY / name).read_text(encoding="utf-8")
    explained = set(re.findall(r"^# (CAP_\w+)", text, re.MULTILINE))
    for setting in ("AmbientCapabilities", "CapabilityBoundingSet"):
        (names,) = re.findall(rf"^{setting}=(.*)$", text, re.MULTILINE)
        assert set(names.split()) == explained


def test_the_settings_that_are_shipped_are_right_once_filled_in() -> None:
    text = (DEPLOY / "vxnet.toml").read_text(encoding="utf-8")
    for name, value in {
        "NAME": "a",
        "VTEP": "192.0.2.1",
        "SEEDS": '["192.0.2.2"]',
        "KEY_FILE": "/var/lib/vxnet/gossip.key",
        "DOCKER": "true",
    }.items():
        assert f"@{name}@" in text
        text = text.replace(f"@{name}@", value)
    settings = parse(text)
    assert settings.gossip.seeds == ("192.0.2.2",)
    assert settings.docker.enabled


@pytest.mark.parametrize("name", ["10-vxnet.link", "10-vxnet.network", "networkmanager.conf"])
def test_devices_of_ours_are_left_alone_and_others_are_not(name: str) -> None:
    text = (DEPLOY / name).read_text(encoding="utf-8")
    patterns = re.findall(r"vx\[\S*?\*", text)
    ours = device_name(EndpointId("0123456789abcdef" * 2))
    for device in (ours, "vxb0123456789ab", "vxp0123456789ab", "vxv0123456789ab"):
        assert any(fnmatchcase(device, pattern) for pattern in patterns)
    for device in ("vxlan0", "eth0", "virbr0"):
        assert not any(fnmatchcase(device, pattern) for pattern in patterns)


@pytest.mark.parametrize(
    ("provider", "wrong"), [("libvirt", False), ("virtualbox", False), ("virtualbox", True)]
)
def test_vagrant_reads_the_machines(provider: str, wrong: bool, tmp_path: Path) -> None:
    folder = tmp_path / "machines"
    folder.mkdir()
    text = (DEPLOY / "vagrant/Vagrantfile").read_text(encoding="utf-8")
    if wrong:
        assert f"{provider}.memory" in text
        text = text.replace(f"{provider}.memory", f"{provider}.no_such_setting")
    (folder / "Vagrantfile").write_text(text)
    (folder / "provision").write_bytes((DEPLOY / "vagrant/provision").read_bytes())
    # Vagrant asks VirtualBox for its version before it reads what is meant for it.
    stand_in = tmp_path / "bin/VBoxManage"
    stand_in.parent.mkdir()
    stand_in.write_text("#!/bin/sh\necho 7.0.20r163906\n")
    stand_in.chmod(0o755)
    done = subprocess.run(
        ["vagrant", "validate"],
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{stand_in.parent}:{os.environ['PATH']}",
            "VAGRANT_HOME": str(tmp_path / "home"),
            "VAGRANT_DEFAULT_PROVIDER": provider,
            "VAGRANT_CHECKPOINT_DISABLE": "1",
        },
        capture_output=True,
        text=True,
    )
    if wrong:
        assert done.returncode == 1
        assert "no_such_setting" in done.stderr
    else:
        assert (done.returncode, done.stderr) == (0, "")
