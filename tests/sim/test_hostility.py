"""P9: damaged, forged, replayed and endless packets; and what a host with the right key may do."""

from collections.abc import Callable
from random import Random

import msgspec
import pytest

from vxnet.gossip.events import MemberState
from vxnet.gossip.hub import Datagram
from vxnet.gossip.member import Address
from vxnet.gossip.security import Keyring, Security
from vxnet.sim.cluster import Cluster
from vxnet.sim.host import Host
from vxnet.sim.network import Conditions
from vxnet.wire.addr import Ip
from vxnet.wire.gossip import HEADER_BYTES, TAG_BYTES, Hello, encode, pack

VNI = 5
KEY = b"k" * 32
STRANGER = Address(Ip(bytes((203, 0, 113, 9))), 7947)


def recorded(cluster: Cluster, to: Host, for_s: float) -> list[tuple[bytes, Address]]:
    """What a host gets in a while, with some of everything in it."""
    packets: list[tuple[bytes, Address]] = []
    receive = to.datagram

    def record(data: bytes, source: Address) -> None:
        packets.append((data, source))
        receive(data, source)

    to.datagram = record  # type: ignore[method-assign]
    for number in range(40):
        cluster[f"n{number % len(cluster.hosts)}"].announce(
            VNI, b"\x02\0\0\0\0" + bytes((number,)), bytes((10, 0, 0, number))
        )
        cluster.run(for_s / 40)
    to.datagram = receive  # type: ignore[method-assign]
    return packets


def knowledge(host: Host) -> object:
    """Everything a packet could change, but for what is counted and what waits to be sent."""
    node = host.node
    return (
        [(p.id, p.epoch, p.inc, p.state, p.verified, p.address) for p in node.roster],
        [(s.owner, s.scope, s.life, s.watermark, s.ver, s.count, s.xor) for s in node.table],
        sorted(node.view.election.winners(), key=lambda entry: (entry.vni, entry.mac)),
        node.epoch,
    )


@pytest.mark.parametrize("keys", [(), (KEY,)], ids=["in-clear", "encrypted"])
def test_a_packet_with_any_octet_changed_changes_nothing(keys: tuple[bytes, ...]) -> None:
    cluster = Cluster(4, 1, keys=keys, vnis=(VNI,), warm=True)
    victim = cluster["n0"]
    packets = recorded(cluster, victim, 4.0)
    before = knowledge(victim)
    random = Random(1)
    for data, source in random.sample(packets, min(60, len(packets))):
        for at in range(len(data)):
            damaged = bytearray(data)
            damaged[at] ^= 1 << random.randrange(8)
            victim.node.receive(bytes(damaged), source, cluster.now)
    assert knowledge(victim) == before
    assert victim.node.events() == []


def test_whoever_has_the_key_may_say_anything_and_stays_within_the_bounds() -> None:
    cluster = Cluster(4, 2, keys=(KEY,), vnis=(VNI,), warm=True)
    victim, liar = cluster["n0"], cluster["n1"]
    packets = recorded(cluster, victim, 4.0)
    opener = Security("vxnet", 1, 1, Keyring([KEY]))
    forge = Security("vxnet", liar.identity.id, liar.identity.epoch + 1, Keyring([KEY]))
    random = Random(2)
    for data, _ in packets:
        _, body = opener.open(data)
        for _ in range(8):
            mutated = bytearray(body)
            for _ in range(random.randrange(1, 4)):
                mutated[random.randrange(len(mutated))] = random.randrange(256)
            cluster.clock.now += 0.01
            victim.node.receive(forge.seal(bytes(mutated)), liar.address, cluster.now)
            victim.act()
    node = victim.node
    assert len(node.roster.peers) <= victim.settings.members_max
    assert node.table.rows <= victim.settings.rows_max


def test_a_cluster_in_which_one_datagram_in_five_is_damaged_still_agrees() -> None:
    cluster = Cluster(6, 3, keys=(KEY,), conditions=Conditions(damage=0.2))
    assert cluster.until(cluster.joined, 30.0) is not None
    for host in cluster:
        host.attach(VNI)
        host.announce(VNI, b"\x02\0\0\0\0" + host.name[1:].encode())
    cluster.run(15.0)
    assert cluster.differences() == []
    assert cluster.disagreements(VNI) == []


def flood(cluster: Cluster, packet: Callable[[int], bytes], source: Address, count: int) -> Host:
    """Send one host 1,000 packets a second, and let the cluster live meanwhile."""
    victim = cluster["n0"]
    for number in range(count):
        victim.datagram(packet(number), source)
        cluster.run(0.001)
    return victim


def asked_and_answered(cluster: Cluster) -> None:
    """The flood delayed no probe: nobody doubts anybody."""
    assert cluster.joined()
    assert all(host.node.health == 0 for host in cluster)
    assert sum(host.node.hub.counters["suspicions"] for host in cluster) == 0


def test_a_flood_of_garbage_neither_grows_memory_nor_delays_probes() -> None:
    cluster = Cluster(4, 4, keys=(KEY,), warm=True)
    random = Random(3)
    victim = flood(cluster, lambda _: random.randbytes(200), STRANGER, 10_000)
    asked_and_answered(cluster)
    assert victim.node.hub.counters["dropped_strangers"] >= 9_000
    assert len(victim.node.roster.peers) == 3


def test_a_flood_of_hellos_in_clear_is_cut_to_what_a_stranger_may_send() -> None:
    cluster = Cluster(4, 5, warm=True)
    random = Random(4)

    def hello(number: int) -> bytes:
        node_id = random.getrandbits(63) + 1
        forge = Security("vxnet", node_id, cluster["n0"].identity.epoch, None)
        alive = cluster["n0"].node.roster.me.alive()
        claim = msgspec.structs.replace(
            alive, id=node_id, name=f"x{number}", vtep=random.randbytes(4), ip=STRANGER.ip
        )
        return forge.seal(pack([encode(Hello(bytes(8), claim, 1, 1, 0, bytes(200)))]))

    victim = flood(cluster, hello, STRANGER, 10_000)
    asked_and_answered(cluster)
    strangers = len(victim.node.roster.peers) - 3
    assert strangers <= 20 * 11  # seconds of the flood, and what had gathered


def test_a_flood_of_replays_changes_nothing_and_answers_nobody() -> None:
    cluster = Cluster(4, 6, keys=(KEY,), vnis=(VNI,), warm=True)
    victim = cluster["n0"]
    packets = recorded(cluster, victim, 2.0)
    before = knowledge(victim)
    replays = packets * 20
    for data, source in replays:
        victim.node.receive(data, source, cluster.now)
    assert knowledge(victim) == before
    assert victim.node.hub.counters["dropped_replayed"] >= len(replays)
    answers = [t for t in victim.node.transmits() if isinstance(t, Datagram)]
    assert answers == []


def test_no_stranger_gets_an_answer_larger_than_what_it_sent() -> None:
    cluster = Cluster(2, 7, warm=True, vnis=(VNI,))
    victim = cluster["n0"]
    for data, _ in recorded(cluster, victim, 2.0):
        body = data[HEADER_BYTES:-TAG_BYTES]
        forged = Security("vxnet", 0x5EED, cluster["n0"].identity.epoch, None).seal(body)
        victim.node.receive(forged, STRANGER, cluster.now)
        answered = sum(
            len(t.data)
            for t in victim.node.transmits()
            if isinstance(t, Datagram) and t.address == STRANGER
        )
        assert answered <= len(forged)


def test_a_host_with_the_wrong_key_or_of_another_cluster_is_as_good_as_absent() -> None:
    cluster = Cluster(4, 8, keys=(KEY,))
    cluster["n3"].keys = (b"w" * 32,)
    cluster.run(15.0)
    assert len(cluster["n0"].node.members()) == 3
    assert cluster["n3"].node.members()[1:] == []
    assert all(peer.state is MemberState.ALIVE for peer in cluster["n0"].node.roster)
