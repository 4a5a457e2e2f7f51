"""Which driver a name means: one of ours, or a plugin's."""

from collections.abc import Callable, Iterable, Iterator

from vxnet.cnm.driver import NetworkDriver
from vxnet.errors import StateError

__all__ = ["DriverChooser"]


class DriverChooser:
    """Ours come first; a plugin is looked for when its name is first used."""

    def __init__(
        self,
        ours: Iterable[NetworkDriver],
        find_plugin: Callable[[str], NetworkDriver | None] = lambda _: None,
    ) -> None:
        self._drivers = {driver.name: driver for driver in ours}
        self._find_plugin = find_plugin

    def __iter__(self) -> Iterator[NetworkDriver]:
        """All that are known by now, in the order of their names."""
        return iter([self._drivers[name] for name in sorted(self._drivers)])

    def get(self, name: str) -> NetworkDriver:
        """The driver of this name. Raises StateError where there is none."""
        if name not in self._drivers:
            found = self._find_plugin(name) if name.isprintable() and "/" not in name else None
            if found is None:
                known = ", ".join(sorted(self._drivers))
                raise StateError(
                    f"there is no driver {name}: this host has {known}, and no plugin of that name"
                )
            self._drivers[name] = found
        return self._drivers[name]

    def find(self, name: str) -> NetworkDriver | None:
        """The driver of this name, or None."""
        try:
            return self.get(name)
        except StateError:
            return None
