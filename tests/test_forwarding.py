"""Forwarding: the table is a function of gossip and local ports, and each side hears the other."""

import pytest

from tests.helpers.hosts import ImaginedLink, vtep_of
from vxnet.control.memory import MemoryCluster, MemoryControl
from vxnet.datapath.base import Peer, Port, Segment
from vxnet.datapath.memory import MemoryDatapath
from vxnet.errors import StateError
from vxnet.forwarding import MET_MAX, Forwarding
from vxnet.gossip.events import EntryFlag
from vxnet.host.memory import MemoryHost
from vxnet.switch.actions import Forgotten, Learned, Moved, PortId, Stranger
from vxnet.wire.addr import Ip, Mac, Vni, Vtep, parse_ip

VNI = Vni(7)
PORT = PortId(1)
ONE, TWO = Mac(b"\2\0\0\0\0\1"), Mac(b"\2\0\0\0\0\2")
IP = parse_ip("10.9.0.1")


class Site:
    """A host's forwarding with a port on VNI 7, beside another host's control plane."""

    def __init__(self) -> None:
        cluster = MemoryCluster()
        self.control = cluster.join("a", vtep_of(1))
        self.other = cluster.join("b", vtep_of(2))
        self.datapath = MemoryDatapath()
        self.forwarding = Forwarding(self.datapath, self.control)

    async def start(self) -> "Site":
        await self.control.start()
        await self.other.start()
        return self

    def add_port(self) -> None:
        self.forwarding.add_segment(Segment(VNI, 1450))
        self.forwarding.add_port(Port(PORT, VNI, ONE), ImaginedLink("tap", MemoryHost()))

    def announced(self, mac: Mac = ONE) -> list[tuple[tuple[Ip, ...], int]]:
        """What others hear of a station here: its addresses, how often it moved."""
        return [
            (entry.ips, entry.sequence)
            for entry in self.other.entries(VNI)
            if entry.mac == mac and entry.owner == self.control.node
        ]


@pytest.fixture
async def site() -> Site:
    return await Site().start()


async def test_a_network_taken_up_late_gets_what_is_known_of_it(site: Site) -> None:
    site.other.attach(VNI)
    site.other.announce(VNI, TWO, (IP,), flags=EntryFlag.ROUTER)
    assert site.datapath.entries == {}
    site.add_port()
    entry = site.datapath.entries[VNI, TWO]
    assert (entry.vtep, entry.ips, entry.router) == (vtep_of(2), (IP,), True)
    assert site.datapath.peers[VNI].peers == (Peer(vtep_of(2)),)


async def test_other_networks_are_not_programmed(site: Site) -> None:
    site.add_port()
    site.other.attach(Vni(8))
    site.other.announce(Vni(8), TWO)
    assert site.datapath.entries == {}


async def test_what_others_take_back_is_removed(site: Site) -> None:
    site.add_port()
    site.other.attach(VNI)
    site.other.announce(VNI, TWO)
    site.other.withdraw(VNI, TWO)
    site.other.detach(VNI)
    assert site.datapath.entries == {}
    assert site.datapath.peers[VNI].peers == ()
    assert site.forwarding.peers(VNI) == {}


async def test_own_stations_are_never_programmed_as_remote(site: Site) -> None:
    site.add_port()
    site.forwarding.announce(VNI, ONE, (IP,), PORT)
    assert site.datapath.entries == {}
    assert site.announced() == [((IP,), 0)]


async def test_foreign_peers_stand_beside_those_of_gossip(site: Site) -> None:
    site.add_port()
    site.other.attach(VNI)
    foreign = Peer(vtep_of(9), learning=True)
    site.forwarding.set_foreign_peers(VNI, (foreign, Peer(vtep_of(2), learning=True)))
    assert site.datapath.peers[VNI].peers == (Peer(vtep_of(2)), foreign)
    site.other.detach(VNI)
    assert set(site.datapath.peers[VNI].peers) == {foreign, Peer(vtep_of(2), learning=True)}


async def test_a_station_seen_behind_a_port_is_announced_with_its_addresses(site: Site) -> None:
    site.add_port()
    site.datapath.saw(Learned(VNI, TWO, PORT), Learned(VNI, TWO, PORT, IP))
    assert site.announced(TWO) == [((IP,), 0)]


async def test_a_station_with_many_addresses_keeps_the_newest_eight(site: Site) -> None:
    site.add_port()
    ips = [parse_ip(f"10.9.0.{number}") for number in range(1, 12)]
    site.datapath.saw(*(Learned(VNI, TWO, PORT, ip) for ip in ips))
    assert site.announced(TWO) == [(tuple(ips[-8:]), 0)]


async def test_a_station_that_came_here_is_announced_as_moved(site: Site) -> None:
    site.add_port()
    site.other.attach(VNI)
    site.other.announce(VNI, TWO, (IP,))
    site.datapath.saw(Moved(VNI, TWO, vtep_of(2), PORT))
    assert site.announced(TWO) == [((), 1)]
    assert site.datapath.entries == {}


async def test_an_endpoint_attached_here_takes_over_from_where_it_was(site: Site) -> None:
    site.add_port()
    site.other.attach(VNI)
    site.other.announce(VNI, ONE, (IP,))
    site.forwarding.announce(VNI, ONE, (IP,), PORT)
    assert site.announced() == [((IP,), 1)]


async def test_an_endpoint_that_another_host_had_for_a_while_is_announced_again(site: Site) -> None:
    site.add_port()
    site.forwarding.announce(VNI, ONE, (IP,), PORT)
    site.other.announce(VNI, ONE, (IP,), moved=True)
    assert site.announced() == []
    site.other.withdraw(VNI, ONE)
    assert site.announced() == [((IP,), 0)]
    site.forwarding.withdraw(VNI, ONE)
    assert site.announced() == [], "what was detached here is not claimed"


async def test_a_forgotten_station_is_withdrawn_but_an_endpoint_is_not(site: Site) -> None:
    site.add_port()
    site.forwarding.announce(VNI, ONE, (IP,), PORT)
    site.datapath.saw(Learned(VNI, TWO, PORT, IP))
    site.datapath.saw(Forgotten(VNI, TWO, PORT), Forgotten(VNI, ONE, PORT))
    assert site.announced(TWO) == []
    assert site.announced(ONE) == [((IP,), 0)]


async def test_a_port_takes_all_its_stations_along(site: Site) -> None:
    site.add_port()
    site.forwarding.announce(VNI, ONE, (IP,), PORT)
    site.datapath.saw(Learned(VNI, TWO, PORT))
    site.forwarding.remove_port(PORT)
    site.forwarding.remove_segment(VNI)
    assert site.other.entries(VNI) == []
    assert site.datapath.segments == {}


async def test_a_bound_of_gossip_does_not_stop_the_datapath(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StateError("there are too many rows")

    site.add_port()
    monkeypatch.setattr(MemoryControl, "announce", full)
    site.datapath.saw(Learned(VNI, TWO, PORT))
    assert site.forwarding.refused_announcements == 1


async def test_verify_is_content_where_table_and_gossip_agree(site: Site) -> None:
    site.add_port()
    site.other.attach(VNI)
    site.other.announce(VNI, TWO, (IP,))
    site.forwarding.announce(VNI, ONE, (), PORT)
    assert site.forwarding.verify() == []


async def test_verify_names_each_kind_of_difference(site: Site) -> None:
    site.add_port()
    site.other.attach(VNI)
    site.other.announce(VNI, TWO, (IP,))
    site.forwarding.announce(VNI, ONE, (), PORT)
    held = site.datapath.entries.pop((VNI, TWO))
    assert site.forwarding.verify() == ["02:00:00:00:00:02 in VNI 7 is missing"]

    stale = type(held)(VNI, Mac(b"\2\0\0\0\0\3"), vtep_of(2))
    wrong = type(held)(VNI, TWO, vtep_of(3), (parse_ip("10.9.0.9"),))
    site.datapath.program([stale, wrong])
    assert site.forwarding.verify() == [
        "02:00:00:00:00:03 in VNI 7 is held by nobody any more",
        "02:00:00:00:00:02 in VNI 7 is at 192.0.2.3:4789 here, and at 192.0.2.2:4789 by gossip",
        "02:00:00:00:00:02 in VNI 7 has 10.9.0.9 here, and 10.9.0.1 by gossip",
    ]

    site.datapath.program([held])
    site.datapath.entries.pop((VNI, stale.mac))
    site.control.forget_listeners()  # or it would be announced again
    site.control.withdraw(VNI, ONE)
    site.datapath.ports.clear()
    assert site.forwarding.verify() == [
        "02:00:00:00:00:01 in VNI 7 is attached here and missing",
        "02:00:00:00:00:01 in VNI 7 is attached here and gossip does not know",
    ]
    site.control.announce(VNI, TWO, moved=True)
    problems = site.forwarding.verify()
    assert "02:00:00:00:00:02 in VNI 7 is not here, and gossip says it is" in problems


async def test_a_vtep_that_a_network_learned_is_a_peer_of_it(site: Site) -> None:
    site.forwarding.add_segment(Segment(VNI, 1450, learn_vteps=True))
    stranger = vtep_of(9)
    site.datapath.saw(Stranger(VNI, stranger.ip), Stranger(VNI, stranger.ip))
    assert site.datapath.peers[VNI].peers == (Peer(stranger, learning=True),)
    site.forwarding.remove_segment(VNI)
    site.forwarding.add_segment(Segment(VNI, 1450))
    assert site.datapath.peers[VNI].peers == ()


async def test_only_so_many_vteps_are_learned(site: Site) -> None:
    site.forwarding.add_segment(Segment(VNI, 1450, learn_vteps=True))
    for number in range(2 * MET_MAX):
        site.datapath.saw(Stranger(VNI, parse_ip(f"198.51.{number >> 8}.{number & 255}")))
    assert len(site.datapath.peers[VNI].peers) == MET_MAX


async def test_a_foreign_peer_s_own_mtu_is_the_narrowest_that_any_network_says(site: Site) -> None:
    far = vtep_of(9)
    site.forwarding.set_foreign_peers(VNI, (Peer(far, mtu=1400),))
    site.forwarding.set_foreign_peers(Vni(6), (Peer(far, mtu=1300),))
    assert site.datapath.paths[far] == 1314
    site.forwarding.set_foreign_peers(Vni(6), ())
    assert site.datapath.paths[far] == 1414
    site.forwarding.set_foreign_peers(VNI, ())
    assert site.datapath.paths[far] is None


async def test_what_the_way_to_a_host_carries_is_told_in_octets_of_frames(site: Site) -> None:
    near, far = vtep_of(2), Vtep(parse_ip("2001:db8::2"), 4789)
    site.forwarding.set_path_mtu(near, 1400)
    site.forwarding.set_path_mtu(far, 1400)
    assert site.datapath.paths == {near: 1364, far: 1344}
