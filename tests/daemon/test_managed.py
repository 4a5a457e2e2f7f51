"""What `docker plugin set` says becomes the settings of the daemon in a managed plugin."""

import socket
from pathlib import Path

import pytest

from vxnet.config import load
from vxnet.daemon.managed import SETTINGS, write_settings
from vxnet.errors import ConfigError

HERE = "127.0.0.1"


def test_settings_are_those_of_the_plugin(tmp_path: Path) -> None:
    said = dict.fromkeys(SETTINGS, "") | {"VXNET_VTEP": HERE, "VXNET_SEEDS": "192.0.2.1, 192.0.2.2"}
    settings = load(write_settings(said, tmp_path))
    assert (settings.node.name, settings.node.vtep) == ("node-127.0.0.1", HERE)
    assert settings.gossip.seeds == ("192.0.2.1", "192.0.2.2")
    assert (settings.docker.enabled, settings.docker.scope) == (True, "global")
    # A swarm's own overlay has the standard's.
    assert settings.vxlan.port not in (0, 4789)


def test_a_port_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="VXNET_PORT=vxlan: it is a number from 1 to 65535"):
        write_settings({"VXNET_VTEP": HERE, "VXNET_PORT": "vxlan"}, tmp_path)


def test_a_port_that_is_taken_is_told_before_dockerd_takes_the_plugin(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((HERE, 0))
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"UDP port {port} of {HERE} cannot be had"):
            write_settings({"VXNET_VTEP": HERE, "VXNET_PORT": str(port)}, tmp_path)
