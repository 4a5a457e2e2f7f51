"""What happens to the hosts during the long run: each thing is done, undone, and looked at.

Every one returns how many seconds it took until all was well again, and raises HostError where it
never was (vxnet.demo.cluster.wait_for does).
"""

import time
from collections.abc import Callable
from functools import partial
from random import Random

from vxnet.demo.cluster import Cluster, Daemon, wait_for
from vxnet.demo.namespace import Namespace
from vxnet.demo.station import Station
from vxnet.errors import HostError, VxnetError

__all__ = ["NETWORK", "Mischief"]

NETWORK = "soak"
WELL_WITHIN_S = 180.0  # generous: the machine may be busy with other things
NARROW_MTU = 1400
APART_S = 12.0  # long enough to be taken for dead


class Mischief:
    """Three hosts: the first two carry the traffic, the third comes and goes."""

    def __init__(self, cluster: Cluster, stations: list[Station], random: Random) -> None:
        self._cluster = cluster
        self._stations = stations
        self._random = random
        self._count = 0

    @property
    def all(self) -> tuple[Callable[[], float], ...]:
        """In the order in which they take turns."""
        return (
            self.an_endpoint_comes_and_goes,
            self.a_network_comes_and_goes,
            self.an_endpoints_mtu_changes,
            self.an_endpoint_comes_and_goes,
            self.the_underlays_mtu_changes,
            self.a_peer_is_cut_off,
            self.an_endpoint_comes_and_goes,
            self.a_peer_restarts,
            self.a_peer_is_killed,
        )

    def an_endpoint_comes_and_goes(self) -> float:
        """A new endpoint on any host reaches those that stay, and is removed with its sandbox."""
        daemon = self._random.choice(self._cluster.daemons)
        with _Guest(daemon, NETWORK, self._name()) as guest:
            return max(_reach(guest, to) for to in self._stations)

    def a_network_comes_and_goes(self) -> float:
        """A network is made, used between two hosts, and removed."""
        name = self._name()
        number = self._count % 200
        first, second = self._cluster.daemons[:2]
        first.create_network(name, (f"10.99.{number}.0/24", f"fd99:{number:x}::/64"))
        started = time.monotonic()
        self._cluster.wait_for_network(name, WELL_WITHIN_S)
        with _Guest(first, name, name) as near, _Guest(second, name, name) as far:
            _reach(near, far)
        took = time.monotonic() - started
        first.client.remove_network(name)
        wait_for(
            lambda: all(
                name not in (network.name for network in daemon.networks())
                for daemon in self._cluster.daemons
            ),
            WELL_WITHIN_S,
            f"every host forgets the network {name}",
        )
        return took

    def an_endpoints_mtu_changes(self) -> float:
        """A station's own device, down and up again, with traffic on it."""
        station = self._stations[0]
        usual = _mtu(station.sandbox, station.ifname)
        try:
            for mtu in (1280, 576, 1000):
                _set_mtu(station.sandbox, station.ifname, mtu)
                time.sleep(0.5)
        finally:
            _set_mtu(station.sandbox, station.ifname, usual)
            # The kernel takes IPv6 away below 1,280.
            address = str(station.ipv6)
            words = ["ip", "-6", "address", "replace", address, "dev", station.ifname, "nodad"]
            station.sandbox.run(words)
        return _reach(station, self._stations[1])

    def the_underlays_mtu_changes(self) -> float:
        """One host's cable takes less than the network's frames need, and then more again."""
        host = self._cluster.daemons[1].host
        usual = _mtu(host, "underlay0")
        try:
            _set_mtu(host, "underlay0", NARROW_MTU)
            took = _reach(self._stations[0], self._stations[1])
        finally:
            _set_mtu(host, "underlay0", usual)
        return max(took, _reach(self._stations[1], self._stations[0], octets=1300))

    def a_peer_is_cut_off(self) -> float:
        """The third host is alone for a while, and comes back."""
        bed = self._cluster.bed
        first, second, third = bed.hosts
        bed.partition([first, second], [third])
        try:
            time.sleep(APART_S)
        finally:
            bed.heal()
        return self._come_together()

    def a_peer_restarts(self) -> float:
        """The third daemon says goodbye and starts again, twice; its endpoint is there again."""
        third = self._cluster.daemons[2]
        took = 0.0
        for _ in range(2):
            third.stop()
            third.start()
            took = max(took, self._come_together())
        return took

    def a_peer_is_killed(self) -> float:
        """The third daemon ends without a word and starts again."""
        third = self._cluster.daemons[2]
        third.kill()
        third.start()
        return self._come_together()

    def _come_together(self) -> float:
        started = time.monotonic()
        third = self._cluster.daemons[2]
        wait_for(
            lambda: _answers(third), WELL_WITHIN_S, f"the daemon of {third.host.label} answers"
        )
        self._cluster.wait_for_members(WELL_WITHIN_S)
        for station in self._stations[:2]:
            _reach(station, self._stations[2])
        return time.monotonic() - started

    def _name(self) -> str:
        self._count += 1
        return f"g{self._count}"


class _Guest:
    """An endpoint in a sandbox of its own, both for a while."""

    def __init__(self, daemon: Daemon, network: str, name: str) -> None:
        self._daemon = daemon
        self._name = name
        self._station = daemon.attach(network, name=name)

    def __enter__(self) -> Station:
        return self._station

    def __exit__(self, *_: object) -> None:
        self._daemon.detach(self._station)
        self._daemon.host.sandboxes.pop(self._name).remove()


def _answers(daemon: Daemon) -> bool:
    if (status := daemon.process.poll()) is not None:
        raise HostError(f"the daemon ended with {status}, saying: {daemon.last_words()}")
    try:
        daemon.status()
    except VxnetError:
        return False
    return True


def _reach(source: Station, target: Station, *, octets: int = 56) -> float:
    """Until one has an answer from the other, over IPv4 and IPv6: how many seconds that took."""

    def answers(address: str) -> bool:
        words = ["ping", "-n", "-c", "1", "-W", "1", "-s", str(octets), address]
        return not source.sandbox.run(words, check=False).returncode

    took = 0.0
    for address in target.addresses:
        what = f"{source.label} reaches {target.label} at {address}"
        took = max(took, wait_for(partial(answers, address), WELL_WITHIN_S, what))
    return took


def _mtu(place: Namespace, device: str) -> int:
    said = place.run(["ip", "-o", "link", "show", "dev", device]).stdout.split()
    return int(said[said.index("mtu") + 1])


def _set_mtu(place: Namespace, device: str, mtu: int) -> None:
    place.run(["ip", "link", "set", device, "mtu", str(mtu)])
