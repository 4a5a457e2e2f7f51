"""Foreign VTEPs of networks: named, listed, removed, and there again after a restart."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.helpers.hosts import vtep_of
from tests.helpers.served import ServedHost, serve
from vxnet.api.model import NetworkBody, PeerBody
from vxnet.datapath.base import Peer, Segment
from vxnet.errors import HostError, StateError, VxnetError
from vxnet.foreign import TABLE, ForeignPeers
from vxnet.wire.addr import Vni

VNI = Vni(42)
FAR = vtep_of(9)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[ServedHost]:
    async with serve(tmp_path / "sock") as served:
        await served.ask(lambda daemon: daemon.create_network(NetworkBody("blue", vni=VNI)))
        served.forwarding.add_segment(Segment(VNI, 1450))
        yield served


def peers(host: ServedHost) -> tuple[Peer, ...]:
    return host.datapath.peers[VNI].peers


async def test_a_peer_is_added_changed_and_removed(host: ServedHost) -> None:
    added = await host.ask(lambda daemon: daemon.add_foreign("blue", PeerBody("192.0.2.9")))
    assert (added.vtep, added.source, added.learning) == ("192.0.2.9:4789", "command", True)
    assert peers(host) == (Peer(FAR, learning=True),)

    body = PeerBody("192.0.2.9", learning=False, mtu=1400)
    await host.ask(lambda daemon: daemon.add_foreign("blue", body))
    assert peers(host) == (Peer(FAR, learning=False, mtu=1400),)
    [listed] = await host.ask(lambda daemon: daemon.foreign("blue"))
    assert (listed.vtep, listed.mtu) == ("192.0.2.9:4789", 1400)

    await host.ask(lambda daemon: daemon.remove_foreign("blue", "192.0.2.9"))
    assert peers(host) == ()
    assert await host.ask(lambda daemon: daemon.foreign("blue")) == []


async def test_what_a_command_named_is_there_after_a_restart(host: ServedHost) -> None:
    await host.ask(lambda daemon: daemon.add_foreign("blue", PeerBody("192.0.2.9:8472", mtu=1400)))
    again = ForeignPeers(host.networks, host.forwarding, host.store, host.control.vtep)
    await again.load()
    [found] = again.of("blue")
    assert (str(found.peer.vtep), found.peer.mtu) == ("192.0.2.9:8472", 1400)


async def test_a_damaged_row_is_a_sentence(host: ServedHost) -> None:
    await host.store.put(TABLE, "42 x", b"{}")
    again = ForeignPeers(host.networks, host.forwarding, host.store, host.control.vtep)
    with pytest.raises(HostError, match="42 x is damaged"):
        await again.load()


async def test_the_settings_peers_are_changed_in_the_settings(host: ServedHost) -> None:
    foreign = ForeignPeers(host.networks, host.forwarding, host.store, host.control.vtep)
    foreign.configure({VNI: (Peer(FAR, learning=True),)})
    assert [one.source for one in foreign.of("blue")] == ["settings"]
    with pytest.raises(StateError, match="settings; change it there"):
        await foreign.add("blue", Peer(FAR))
    with pytest.raises(StateError, match="settings; remove it there"):
        await foreign.remove("blue", FAR.ip)
    foreign.configure({})
    assert foreign.of("blue") == []
    assert peers(host) == ()


@pytest.mark.parametrize(
    ("network", "body", "words"),
    [
        ("none", PeerBody("192.0.2.9"), "there is no network none"),
        ("blue", PeerBody("far.example"), "'far.example' is no VTEP; write it like"),
        ("blue", PeerBody("192.0.2.9:0"), "is no VTEP"),
        ("blue", PeerBody("2001:db8::9"), "outer packets need one version"),
        ("blue", PeerBody("192.0.2.1"), "this host's own VTEP"),
        ("blue", PeerBody("192.0.2.9", mtu=100), "576 is the least"),
    ],
)
async def test_what_cannot_be_a_peer_is_refused_in_a_sentence(
    host: ServedHost, network: str, body: PeerBody, words: str
) -> None:
    with pytest.raises(VxnetError, match=words):
        await host.ask(lambda daemon: daemon.add_foreign(network, body))
    assert peers(host) == ()


async def test_one_that_nobody_named_cannot_be_removed(host: ServedHost) -> None:
    with pytest.raises(StateError, match=r"see: vxnet network peer ls blue"):
        await host.ask(lambda daemon: daemon.remove_foreign("blue", "192.0.2.9"))
