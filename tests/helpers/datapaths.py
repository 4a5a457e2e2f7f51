"""Which datapaths there are to test."""

import os

from vxnet.datapath.select import select
from vxnet.wire.addr import Vtep, parse_ip

__all__ = ["DATAPATHS"]


def _datapaths() -> tuple[str, ...]:
    """The specification, and the fast one where it was built or was meant to be built.

    One that was meant to be there and is not fails every test of it.
    """
    if os.environ.get("VXNET_REQUIRE_NATIVE") == "1":
        return ("pure", "native")
    best, _ = select("auto", Vtep(parse_ip("127.0.0.1"), 0))
    return ("pure",) if best.name == "pure" else ("pure", best.name)


DATAPATHS = _datapaths()
