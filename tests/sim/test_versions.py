"""P10: hosts of different versions in one cluster."""

from dataclasses import replace

import msgspec

from vxnet.gossip.events import AlarmKind
from vxnet.sim.cluster import Cluster
from vxnet.sim.host import Host

VNI = 5
UNHEARD_OF = [99, {"colour": "blue"}, [1, 2, 3]]


def speak_as_a_later_version(host: Host) -> None:
    """Every message gets fields of tomorrow, and every packet a message of tomorrow."""
    seal = host.node.security.seal

    def later(body: bytes, kid: bytes | None = None) -> bytes:
        messages = msgspec.msgpack.decode(body)
        longer = [[*message, *later_fields(message)] for message in messages]
        return seal(msgspec.msgpack.encode([UNHEARD_OF, *longer]), kid)

    host.node.security.seal = later  # type: ignore[method-assign]


def later_fields(message: list[object]) -> list[object]:
    """Only where the sender has said all that the present version knows may more be said."""
    optional_missing = {2: 1, 5: 0, 18: 0}
    return [] if optional_missing.get(int(str(message[0]))) else [{"new": True}, b"more"]


def test_versions_that_differ_in_fields_and_messages_converge() -> None:
    cluster = Cluster(6, 1, start_within_s=0.0)
    cluster.run(0.0)
    for host in cluster.hosts[::2]:
        speak_as_a_later_version(host)
    assert cluster.until(cluster.joined, 20.0) is not None
    for number, host in enumerate(cluster):
        host.attach(VNI)
        host.announce(VNI, b"\x02\0\0\0\0" + bytes((number,)), bytes((10, 0, 0, number)))
    cluster.run(10.0)
    assert cluster.differences() == []
    assert cluster.disagreements(VNI) == []


def test_hosts_whose_versions_do_not_meet_stay_apart_and_say_so() -> None:
    cluster = Cluster(4, 2)
    cluster["n3"].identity = replace(cluster["n3"].identity, low=2, high=3)
    cluster.run(10.0)
    assert "versions 1 to 1" in (cluster["n3"].node.refusal or "")
    assert len(cluster["n0"].node.members()) == 3
    kinds = {getattr(event, "kind", None) for _, event in cluster["n3"].log}
    assert AlarmKind.VERSION_MISMATCH in kinds


def test_a_host_that_speaks_both_versions_joins_either() -> None:
    cluster = Cluster(4, 3)
    cluster["n3"].identity = replace(cluster["n3"].identity, high=2)
    assert cluster.until(cluster.joined, 10.0) is not None
