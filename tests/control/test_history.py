"""What is remembered of stations and hosts, and for how long."""

from vxnet.control.history import History
from vxnet.gossip.events import (
    Entry,
    EntryGone,
    EntrySet,
    Member,
    MemberChanged,
    MemberState,
    NodeId,
)
from vxnet.wire.addr import Ip, Vni, Vtep, parse_ip, parse_mac

VNI = Vni(7)
MAC = parse_mac("02:00:00:00:00:01")
IP = parse_ip("10.9.0.7")
A, B = NodeId(1), NodeId(2)


def entry(owner: NodeId, *, sequence: int = 0, ips: tuple[Ip, ...] = (IP,)) -> EntrySet:
    vtep = Vtep(parse_ip(f"192.0.2.{owner}"), 4789)
    return EntrySet(Entry(VNI, MAC, ips, vtep, owner, sequence, version=3, announced_ms=990))


def member(node: NodeId, name: str, state: MemberState) -> MemberChanged:
    vtep = Vtep(parse_ip(f"192.0.2.{node}"), 4789)
    return MemberChanged(Member(node, name, state, vtep, ("192.0.2.1", 7947), 0.0), None)


class Clock:
    """A wall clock that moves by a second each time it is read."""

    def __init__(self) -> None:
        self.ms = 0

    def __call__(self) -> int:
        self.ms += 1000
        return self.ms


def test_a_station_that_moves_leaves_its_whole_way() -> None:
    history = History(Clock())
    history.hear([entry(A)])
    history.hear([entry(B, sequence=1)])
    history.hear([entry(B, sequence=1, ips=())])
    history.hear([EntryGone(VNI, MAC)])
    lines = list(history.of_mac(MAC))
    assert [(line.what, line.owner, line.applied_ms) for line in lines] == [
        ("announced", A, 1000),
        ("moved", B, 2000),
        ("changed", B, 3000),
        ("gone", B, 4000),
    ]
    assert (lines[1].announced_ms, lines[1].version, lines[1].sequence) == (990, 3, 1)


def test_an_address_is_found_as_long_as_a_station_had_it() -> None:
    history = History(Clock())
    history.hear([entry(A), entry(A, ips=()), EntryGone(VNI, MAC)])
    assert [line.what for line in history.of_ip(IP)] == ["announced"]
    assert not list(history.of_ip(parse_ip("10.9.0.8")))


def test_a_host_has_what_became_of_it_and_what_it_said() -> None:
    history = History(Clock())
    history.hear([member(A, "a", MemberState.ALIVE), entry(A), entry(B)])
    history.hear([member(A, "a", MemberState.DEAD)])
    assert [line.what for line in history.of_peer(frozenset({A}), "a")] == [
        "alive",
        "announced",
        "dead",
    ]
    assert [line.what for line in history.of_peer(frozenset(), "a")] == ["alive", "dead"]


def test_what_is_remembered_is_bounded() -> None:
    history = History(Clock(), lines_max=10)
    for sequence in range(100):
        history.hear([entry(A, sequence=sequence)])
    assert [line.sequence for line in history.of_mac(MAC)] == list(range(90, 100))


def test_a_station_nobody_heard_of_is_not_gone() -> None:
    history = History(Clock())
    history.hear([EntryGone(VNI, MAC)])
    assert not list(history.of_mac(MAC))
