"""Only what a host uses is loaded."""

import subprocess
import sys

import pytest

from tests.helpers.datapaths import DATAPATHS

LOADED = """
import sys

import vxnet.daemon.run
from vxnet.datapath.select import select
from vxnet.wire.addr import Vtep, parse_ip

select(sys.argv[1], Vtep(parse_ip("127.0.0.1"), 0))
print(*sys.modules)
"""


@pytest.mark.parametrize("kind", DATAPATHS)
def test_a_host_loads_the_datapath_it_has_and_no_other(kind: str) -> None:
    command = [sys.executable, "-c", LOADED, kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    wanted, spared = {"numpy", "vxnet.datapath.pure"}, {"vxnet._native", "vxnet.datapath.native"}
    if kind != "pure":
        wanted, spared = spared, wanted
    assert wanted <= loaded
    assert not spared & loaded
    assert not {"cryptography", "vxnet.docker.driver"} & loaded
