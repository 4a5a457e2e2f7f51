"""Who is called what: a pure function of the rows that hosts told, and of which hosts are up."""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from vxnet.cnm.model import NetworkId
from vxnet.errors import WireError
from vxnet.names.rows import NameRow, read_row
from vxnet.wire.addr import Ip

__all__ = ["Directory", "Named"]

RowId = tuple[int, bytes]


class Named(NamedTuple):
    """An endpoint of some host that is up."""

    owner: int
    id: bytes
    row: NameRow


_Place = tuple[NetworkId, str, str | bytes]
_NAME, _ADDRESS, _SERVICE = "name", "address", "service"


class Directory:
    """The names of all networks. Rows of a host that is down are kept, and hidden."""

    def __init__(self) -> None:
        self._rows: dict[RowId, NameRow] = {}
        self._index: defaultdict[_Place, set[RowId]] = defaultdict(set)
        self._live: frozenset[int] = frozenset()
        self.version = 0  # raised by each change

    def __iter__(self) -> Iterator[Named]:
        """Every endpoint of a host that is up."""
        for (owner, key), row in sorted(self._rows.items(), key=lambda item: item[0]):
            if owner in self._live:
                yield Named(owner, key, row)

    def hear(self, owner: int, key: bytes, body: bytes) -> None:
        """A host told of one of its endpoints. Raises WireError, and then knows nothing of it."""
        self.unhear(owner, key)
        if len(key) != 16:
            raise WireError(f"the row of a name under a key of {len(key)} octets")
        row = read_row(body)
        self._rows[owner, key] = row
        for place in _places(row):
            self._index[place].add((owner, key))
        self.version += 1

    def unhear(self, owner: int, key: bytes) -> None:
        """A host took a row back, or is gone for good."""
        row = self._rows.pop((owner, key), None)
        if row is None:
            return
        for place in _places(row):
            self._index[place].discard((owner, key))
            if not self._index[place]:
                del self._index[place]
        self.version += 1

    def set_live(self, owners: frozenset[int]) -> None:
        """These hosts are up, and no others."""
        if owners != self._live:
            self._live = owners
            self.version += 1

    def is_live(self, owner: int) -> bool:
        """Whether a host is up, as far as was said."""
        return owner in self._live

    def named(self, network: NetworkId, name: str) -> list[Named]:
        """The endpoints that have a name or an alias, in an order that all hosts share."""
        return self._found((network, _NAME, name.lower()))

    def at(self, network: NetworkId, ip: Ip) -> list[Named]:
        """The endpoints that have an address."""
        return self._found((network, _ADDRESS, ip))

    def members(self, network: NetworkId, service: str) -> list[Named]:
        """The members of a service, whatever their health."""
        return self._found((network, _SERVICE, service.lower()))

    def _found(self, place: _Place) -> list[Named]:
        ids = self._index.get(place, ())
        return [Named(*i, self._rows[i]) for i in sorted(ids) if i[0] in self._live]


def _places(row: NameRow) -> set[_Place]:
    """Under what a row is found."""
    network = row.network_id
    return {
        *((network, _NAME, name.lower()) for name in (row.name, *row.aliases)),
        *((network, _ADDRESS, ip) for ip in row.ips),
        *((network, _SERVICE, m.service.lower()) for m in row.memberships),
    }
