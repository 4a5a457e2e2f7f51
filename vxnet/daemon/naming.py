"""The parts that answer for names, put together."""

from collections.abc import Callable
from functools import partial

from vxnet.cnm.model import Network, NetworkId
from vxnet.config import Settings, parse_host_port
from vxnet.door import open_door
from vxnet.errors import VxnetError
from vxnet.forwarding import Forwarding
from vxnet.host.upstream import Upstream
from vxnet.nameservice import NameService
from vxnet.registry import Registry
from vxnet.resolvers import DNS_PORT, Resolvers

__all__ = ["build_resolvers"]


def build_resolvers(
    settings: Settings,
    names: NameService,
    registry: Registry,
    forwarding: Forwarding,
    find_network: Callable[[NetworkId], Network | None],
    report: Callable[[VxnetError], None],
) -> Resolvers:
    """The resolvers of this host, which ask those of the settings or of the system."""
    upstream = [parse_host_port(server, DNS_PORT) for server in settings.dns.upstream]
    return Resolvers(
        names,
        registry,
        forwarding,
        find_network,
        lambda network, name: None,
        open_door,
        partial(Upstream, upstream),
        report,
    )
