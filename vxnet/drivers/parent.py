"""The device of the host that macvlan and ipvlan networks hang on, with or without a VLAN."""

from vxnet.cnm.model import Network
from vxnet.errors import StateError
from vxnet.host.base import Links, Underlay, Vlan

__all__ = ["ParentDevice"]


class ParentDevice:
    """Named by the option `parent`; the option `vlan` makes it a sub-interface of that."""

    def __init__(self, links: Links) -> None:
        self._links = links

    async def check(self, network: Network) -> Underlay:
        """The parent. Raises StateError where none is named or it is not on this host."""
        name = network.options.get("parent", "")
        if not name:
            raise StateError(
                f"a {network.driver} network needs a device to hang on; name it with "
                "--opt parent=eth0"
            )
        self._vlan_id(network)
        return await self._links.parent(name)

    async def ensure(self, network: Network) -> str:
        """The device that endpoints hang on, made if it is a VLAN that is not there yet."""
        parent = await self.check(network)
        vlan_id = self._vlan_id(network)
        if vlan_id is not None:
            await self._links.add(Vlan(self._sub_interface(network), parent.device, vlan_id))
        return self.name(network)

    def name(self, network: Network) -> str:
        """What `ensure` returns, whether it is there or not."""
        if self._vlan_id(network) is None:
            return network.options["parent"]
        return self._sub_interface(network)

    async def release(self, network: Network) -> None:
        """Remove what `ensure` made."""
        if self._vlan_id(network) is not None:
            await self._links.remove(self._sub_interface(network))

    def _vlan_id(self, network: Network) -> int | None:
        text = network.options.get("vlan")
        if text is None:
            return None
        if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= 4094:
            raise StateError(f"option vlan={text}: it is a number from 1 to 4094")
        return int(text)

    def _sub_interface(self, network: Network) -> str:
        return f"vxv{network.id[:12]}"
