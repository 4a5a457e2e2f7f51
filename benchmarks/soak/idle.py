"""A connection through a service's address that says nothing for as long as all else goes on."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from benchmarks.soak.mischief import NETWORK
from vxnet.api.model import ServiceBody
from vxnet.demo.cluster import Cluster, wait_for
from vxnet.demo.station import Station
from vxnet.errors import HostError

__all__ = ["Idle", "idle"]

SERVICE: Final = "quiet"
PORT: Final = 7
TEXT: Final = b"still there?"
WITHIN_S: Final = 20.0


class Idle:
    """The connection's two ends."""

    def __init__(self, client: socket.socket, member: socket.socket) -> None:
        self.client = client
        self.member = member
        self._since = time.monotonic()

    @property
    def idle_s(self) -> float:
        """For how long nothing was said."""
        return time.monotonic() - self._since

    def ask(self) -> None:
        """Say something on both ways. Raises HostError where it does not arrive."""
        idle_s = self.idle_s
        try:
            for speaker, listener in ((self.client, self.member), (self.member, self.client)):
                speaker.sendall(TEXT)
                heard = listener.recv(len(TEXT), socket.MSG_WAITALL)
                if heard != TEXT:
                    raise HostError(f"a connection idle for {idle_s:.0f} s ended")
        except OSError as error:
            raise HostError(f"a connection idle for {idle_s:.0f} s: {error}") from None
        self._since = time.monotonic()


@contextmanager
def idle(cluster: Cluster, customer: Station) -> Iterator[Idle]:
    """Between a station and a member on the second host, by way of the service's address."""
    daemon = cluster.daemons[1]
    made = ServiceBody(SERVICE, NETWORK, ports=(str(PORT),))
    vip = next(ip for ip in daemon.client.create_service(made).vips if ":" not in ip)
    sandbox = daemon.attach(NETWORK, name=SERVICE, services=(SERVICE,)).sandbox
    asked = cluster.daemon_of(customer.host).client
    wait_for(
        lambda: any(s.name == SERVICE and s.members for s in asked.services()),
        WITHIN_S,
        "the service of the idle connection is known",
    )
    with ExitStack() as stack:
        listener = stack.enter_context(
            sandbox.inside(lambda: socket.create_server(("", PORT), family=socket.AF_INET))
        )
        listener.settimeout(WITHIN_S)
        client = stack.enter_context(customer.socket(socket.AF_INET, socket.SOCK_STREAM))
        client.settimeout(WITHIN_S)
        client.connect((vip, PORT))
        member = stack.enter_context(listener.accept()[0])
        member.settimeout(WITHIN_S)
        found = Idle(client, member)
        found.ask()
        yield found
