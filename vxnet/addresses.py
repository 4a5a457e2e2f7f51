"""Who holds which address: each host tells all others of those it handed out."""

import ipaddress
from collections.abc import Callable

from vxnet.cnm.subnets import choose_address, place_address
from vxnet.cnm.model import Endpoint, IpAddress, IpInterface, Network, NetworkId
from vxnet.control.base import ControlPlane
from vxnet.errors import StateError
from vxnet.gossip.events import NodeId, RecordKind

__all__ = ["Addresses"]


class Addresses:
    """Hands out addresses of this cluster's networks to endpoints of this host."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control
        self._held: dict[tuple[NetworkId, IpAddress], str] = {}

    def allocate(
        self, network: Network, wanted: tuple[IpAddress, ...], holder: str
    ) -> tuple[IpInterface, ...]:
        """One address a subnet, the wanted ones where they fit. The holder is told to others.

        Raises StateError where one is taken or outside the network, or none is left.
        """
        found = [place_address(network, address) for address in wanted]
        for address in found:
            if (whose := self._holder_of(network, address.ip)) is not None:
                raise StateError(f"{address.ip} of network {network.name} is taken, by {whose}")
        served = {address.network for address in found}
        # Hosts start at different places of a subnet, so two that choose at once do not meet.
        seed, is_taken = str(self._control.members()[0].id), self._is_taken(network)
        found.extend(
            choose_address(subnet, seed, is_taken)
            for subnet in network.subnets
            if subnet.prefix not in served
        )
        for address in found:
            self._hold(network.id, address.ip, holder)
        return tuple(found)

    def resume(self, endpoint: Endpoint) -> None:
        """Hold again what an endpoint had before a restart."""
        for address in endpoint.addresses:
            self._hold(endpoint.network, address.ip, endpoint.name)

    def holders_elsewhere(self, network: Network) -> list[str]:
        """The endpoints of other hosts that hold addresses of a network."""
        prefix, own = bytes.fromhex(network.id), self._control.members()[0].id
        return sorted(
            {
                f"endpoint {record.body.decode(errors='replace')} of {self._name_of(record.owner)}"
                for record in self._control.records(RecordKind.CLAIM)
                if record.key.startswith(prefix) and record.owner != own
            }
        )

    def release(self, network: NetworkId, addresses: tuple[IpInterface, ...]) -> None:
        """Nobody here has these any more."""
        for address in addresses:
            if self._held.pop((network, address.ip), None) is not None:
                self._control.retract(RecordKind.CLAIM, _key(network, address.ip))

    def _hold(self, network: NetworkId, address: IpAddress, holder: str) -> None:
        self._control.publish(RecordKind.CLAIM, _key(network, address), holder.encode())
        self._held[network, address] = holder

    def _is_taken(self, network: Network) -> Callable[[IpAddress], bool]:
        prefix = bytes.fromhex(network.id)
        claimed = {
            record.key[len(prefix) :]
            for record in self._control.records(RecordKind.CLAIM)
            if record.key.startswith(prefix)
        }
        return lambda address: address.packed in claimed

    def _holder_of(self, network: Network, address: IpAddress) -> str | None:
        key = _key(network.id, address)
        for record in self._control.records(RecordKind.CLAIM):
            if record.key == key:
                who = record.body.decode(errors="replace")
                return f"endpoint {who} of {self._name_of(record.owner)}"
        return None

    def _name_of(self, owner: NodeId) -> str:
        names = {member.id: member.name for member in self._control.members()}
        return names.get(owner, "a host that is gone")


def _key(network: NetworkId, address: IpAddress) -> bytes:
    return bytes.fromhex(network) + ipaddress.ip_address(address).packed
