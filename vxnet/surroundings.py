"""Where hosts are already: the subnets they have addresses in, route to, or resolve names by.

Each host tells its own, so that a network that any of them makes lies beside all of them.
"""

import ipaddress
from collections.abc import Callable, Iterator
from typing import Final

from vxnet.cnm.claims import SurroundingsRow, key_of, read_row, write_row
from vxnet.cnm.model import IpNetwork, NetworkId
from vxnet.control.base import ControlPlane
from vxnet.errors import VxnetError, WireError
from vxnet.gossip.events import RecordKind
from vxnet.host.base import HostNetwork

__all__ = ["Surroundings"]

NO_NETWORK: Final = NetworkId("0" * 32)
TOLD_BYTES_MAX: Final = 800
"""What a row holds; a host with more routes tells the largest of them."""


class Surroundings:
    """This host's, and what the others tell of theirs."""

    def __init__(self, control: ControlPlane, host: HostNetwork) -> None:
        self._control = control
        self._host = host
        self._told: bytes | None = None

    async def tend(self, report: Callable[[VxnetError], None]) -> None:
        """Tell the others, where anything changed."""
        try:
            body = write_row(SurroundingsRow(_text(await self._host.prefixes())))
            if body != self._told:
                own = self._control.members()[0].id
                key = key_of(SurroundingsRow(()), NO_NETWORK, own.to_bytes(8))
                self._control.publish(RecordKind.CLAIM, key, body)
                self._told = body
        except VxnetError as error:
            report(error)

    async def here(self) -> list[tuple[str, IpNetwork]]:
        """What is at this host, by its name."""
        name = self._control.members()[0].name
        return [(name, prefix) for prefix in await self._host.prefixes()]

    def elsewhere(self) -> Iterator[tuple[str, IpNetwork]]:
        """What is at other hosts, by their names."""
        own, *others = self._control.members()
        names = {member.id: member.name for member in others}
        for record in self._control.records(RecordKind.CLAIM):
            if record.key[:1] != b"S" or record.owner == own.id:
                continue
            try:
                row = read_row(record.key, record.body)
                found = [ipaddress.ip_network(text) for text in getattr(row, "prefixes", ())]
            except (WireError, ValueError):
                continue
            for prefix in found:
                yield names.get(record.owner, "a host that is gone"), prefix


def _text(prefixes: list[IpNetwork]) -> tuple[str, ...]:
    """As many as fit, the largest first; what lies in another one is left out."""
    four = ipaddress.collapse_addresses(p for p in prefixes if isinstance(p, ipaddress.IPv4Network))
    six = ipaddress.collapse_addresses(p for p in prefixes if isinstance(p, ipaddress.IPv6Network))
    texts: list[str] = []
    room = TOLD_BYTES_MAX
    together: list[IpNetwork] = [*four, *six]
    for prefix in sorted(together, key=lambda p: p.prefixlen / p.max_prefixlen):
        if prefix.is_loopback or prefix.is_link_local or prefix.is_multicast:
            continue
        room -= len(str(prefix)) + 2
        if room < 0:
            break
        texts.append(str(prefix))
    return tuple(sorted(texts))
