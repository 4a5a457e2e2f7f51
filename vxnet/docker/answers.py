"""What dockerd is answered: JSON in its own media type; the reason of a refusal its user sees."""

from typing import Any, Final

import msgspec
from aiohttp import web

__all__ = ["BODY_BYTES_MAX", "NOBODY", "answer", "refuse"]

CONTENT_TYPE: Final = "application/vnd.docker.plugins.v1.1+json"
BODY_BYTES_MAX: Final = 1 << 20
"""No call is longer."""
NOBODY: Final = "vxnet does not run on this host; start it: systemctl start vxnet"
"""What Docker notes of a container that could not start meanwhile."""


def answer(document: Any, status: int = 200) -> web.Response:
    """A call's answer."""
    return web.Response(
        body=msgspec.json.encode(document), status=status, content_type=CONTENT_TYPE
    )


def refuse(reason: str, status: int = 200) -> web.Response:
    """A call that is not carried out. dockerd asks again only where nobody answers at all.

    It looks under `Err` for what the network driver says, and under `Error` for what the IPAM
    driver does (libnetwork's `drivers/remote/api` and `ipams/remote/api`).
    """
    return answer({"Err": reason, "Error": reason}, status)
