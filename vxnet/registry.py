"""The endpoints of this host, in memory as they are on disk."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from vxnet.cnm.model import Endpoint, EndpointId, EndpointState, NetworkId
from vxnet.cnm.saved import read_endpoint, write_endpoint
from vxnet.errors import HostError, StateError
from vxnet.host.base import Store

__all__ = ["Registry"]

TABLE: Final = "endpoint"
ID_DIGITS_MIN: Final = 4
ID_DIGITS_SHOWN: Final = 12


class Registry:
    """Saves each change before it is seen. `absent` are those whose sandbox is not there."""

    def __init__(self, store: Store) -> None:
        self.absent: set[EndpointId] = set()
        self.watchers: list[Callable[[], None]] = []
        """Told after each change."""
        self._store = store
        self._endpoints: dict[EndpointId, Endpoint] = {}

    def __iter__(self) -> Iterator[Endpoint]:
        """All endpoints, oldest first."""
        return iter(sorted(self._endpoints.values(), key=lambda e: (e.created_ms, e.id)))

    def __contains__(self, endpoint: EndpointId) -> bool:
        return endpoint in self._endpoints

    def get(self, name: str) -> Endpoint:
        """The endpoint of this name, or whose id starts so. Raises StateError."""
        by_name = [e for e in self if e.name == name]
        by_id = [e for e in self if len(name) >= ID_DIGITS_MIN and e.id.startswith(name)]
        found = by_name or by_id
        if not found:
            raise StateError(f"this host has no endpoint {name}; see: vxnet endpoint ls")
        if len(found) > 1:
            ids = ", ".join(e.id[:ID_DIGITS_SHOWN] for e in found)
            raise StateError(f"{name} may be any of the endpoints {ids}; write more of the id")
        return found[0]

    def find(self, endpoint: EndpointId) -> Endpoint | None:
        """The endpoint of this id, as it is now."""
        return self._endpoints.get(endpoint)

    def of_network(self, network: NetworkId) -> list[Endpoint]:
        """The endpoints of one network."""
        return [endpoint for endpoint in self if endpoint.network == network]

    async def load(self) -> list[Endpoint]:
        """Read what was saved. Raises HostError where it is damaged."""
        for key, value in await self._store.rows(TABLE):
            try:
                endpoint = read_endpoint(value)
            except ValueError as error:
                raise HostError(f"what was saved of endpoint {key} is damaged: {error}") from None
            self._endpoints[endpoint.id] = endpoint
        return list(self)

    async def keep(self, endpoint: Endpoint, state: EndpointState) -> Endpoint:
        """Save an endpoint in this state; returns it as it is now."""
        kept = replace(endpoint, state=state)
        await self._store.put(TABLE, endpoint.id, write_endpoint(kept))
        self._endpoints[endpoint.id] = kept
        self._tell()
        return kept

    async def drop(self, endpoint: EndpointId) -> None:
        """Forget an endpoint."""
        await self._store.delete(TABLE, endpoint)
        self._endpoints.pop(endpoint, None)
        self.absent.discard(endpoint)
        self._tell()

    def _tell(self) -> None:
        for watcher in self.watchers:
            watcher()
