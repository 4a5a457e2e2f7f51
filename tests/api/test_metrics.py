"""The server of metrics: what it says where it cannot be."""

import socket
from typing import TYPE_CHECKING, cast

import pytest

from vxnet.api.metrics import MetricsServer
from vxnet.errors import HostError

if TYPE_CHECKING:
    from vxnet.api.views import Views


async def test_a_port_in_use_is_said_with_the_mend() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = MetricsServer("127.0.0.1", port, cast("Views", None))
        with pytest.raises(HostError, match=rf"port {port}: .*choose another metrics\.listen"):
            await server.start()
        await server.close()
