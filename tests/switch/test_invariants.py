"""What holds for any frames in any order."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.switch.site import BLUE, FOREIGN, P1, P2, P3, PEER, RED, STRANGER, frame, ip, mac, tagged
from vxnet.switch.actions import Deliver, Drop, Flood, PortId, Reply, Send
from vxnet.switch.forward import Switch
from vxnet.switch.limits import Limits
from vxnet.switch.model import Peer, Port, RemoveEntry, Segment, SetEntry, SetPeers
from vxnet.wire import arp, nd
from vxnet.wire.addr import BROADCAST, Ip, Mac, Vni, Vtep

P4 = PortId(4)
PORTS = {P1: BLUE, P2: BLUE, P3: RED, P4: RED}
LIMITS = Limits(learned_max=5, learned_per_port_max=3, learned_per_peer_max=3, events_max=10)

MACS = st.sampled_from([*(mac(number) for number in range(1, 8)), BROADCAST, Mac(bytes(6))])
STATIONS = MACS.filter(lambda value: not value[0] & 1 and any(value))
VNIS = st.sampled_from([BLUE, RED])
PEERS = st.sampled_from([PEER, FOREIGN])
IPV4S = st.sampled_from([ip(f"10.9.0.{number}") for number in range(4)])
IPV6S = st.sampled_from([ip("::"), ip("fe80::1"), *(ip(f"fd09::{n}") for n in range(1, 4))])

FRAMES = st.one_of(
    st.builds(frame, MACS, MACS),
    st.builds(tagged, st.builds(frame, MACS, MACS), st.integers(0, 4095)),
    st.builds(arp.request, MACS, IPV4S, IPV4S),
    st.builds(nd.solicit, MACS, IPV6S, IPV6S),
    st.builds(lambda to, source, rest: to + source + rest, MACS, MACS, st.binary(max_size=80)),
    st.binary(max_size=80),
)
STEPS = st.one_of(
    st.tuples(st.just("link"), st.sampled_from(list(PORTS)), FRAMES),
    st.tuples(st.just("underlay"), VNIS, PEERS, FRAMES),
    st.tuples(st.just("entry"), VNIS, STATIONS, PEERS, st.lists(IPV4S, max_size=2)),
    st.tuples(st.just("gone"), VNIS, STATIONS),
    st.tuples(st.just("wait"), st.floats(0, 400)),
    st.tuples(st.just("drain")),
)


def built(open_ports: bool, suppress: bool) -> Switch:
    switch = Switch(LIMITS)
    for vni in (BLUE, RED):
        switch.set_segment(Segment(vni, 1450, suppress_neighbours=suppress))
    for number, (port, vni) in enumerate(PORTS.items(), start=1):
        mine = None if open_ports else mac(number)
        switch.add_port(Port(port, vni, mine, (ip(f"10.9.0.{number}"),) if mine else ()))
    switch.program(SetPeers(vni, (Peer(PEER), Peer(FOREIGN, True))) for vni in (BLUE, RED))
    return switch


def receivers(action: object) -> tuple[set[PortId], set[Vtep]]:
    match action:
        case Deliver(port):
            return {port}, set()
        case Send(vtep):
            return set(), {vtep}
        case Flood(ports, vteps):
            assert ports or vteps
            assert len(set(ports)) == len(ports)
            assert len(set(vteps)) == len(vteps)
            return set(ports), set(vteps)
        case Reply() | Drop():
            return set(), set()
        case _:
            raise AssertionError(f"{action!r} is no action")


@settings(deadline=None, max_examples=300)
@given(st.booleans(), st.booleans(), st.lists(STEPS, max_size=60))
def test_whatever_comes_stays_in_its_network_and_does_not_return(
    open_ports: bool, suppress: bool, steps: list[tuple[object, ...]]
) -> None:
    switch = built(open_ports, suppress)
    now = 0.0
    held: dict[tuple[Vni, Mac], Vtep] = {}
    for step in steps:
        match step:
            case ("link", port, octets):
                action = switch.from_link(port, memoryview(octets), now)
                ports, vteps = receivers(action)
                assert port not in ports
                assert all(PORTS[other] == PORTS[port] for other in ports)
            case ("underlay", vni, vtep, octets):
                action = switch.from_underlay(vni, vtep.ip, memoryview(octets), now)
                assert isinstance(action, Deliver | Flood | Drop)
                ports, vteps = receivers(action)
                assert not vteps
                assert all(PORTS[other] == vni for other in ports)
            case ("entry", vni, station, vtep, ips):
                switch.program([SetEntry(vni, station, vtep, tuple(dict.fromkeys(ips)))])
                held[vni, station] = vtep
            case ("gone", vni, station):
                switch.program([RemoveEntry(vni, station)])
                held.pop((vni, station), None)
            case ("wait", seconds):
                now += seconds
                switch.expire(now)
            case _:
                switch.events()
        rows = {(row.vni, row.mac): row for row in switch.rows(now)}
        assert {key: row.vtep for key, row in rows.items() if row.source == "control"} == held
        for vni in (BLUE, RED):
            learned = [row for row in rows.values() if row.source == "learned" and row.vni == vni]
            assert len(learned) <= LIMITS.learned_max
        assert all((row.vtep is None) != (row.port is None) for row in rows.values())


@settings(deadline=None)
@given(st.sampled_from([PEER, FOREIGN, Vtep(STRANGER, 4789)]), FRAMES, st.booleans())
def test_one_frame_never_fills_more_than_one_entry(
    vtep: Vtep, octets: bytes, from_link: bool
) -> None:
    switch = built(open_ports=True, suppress=True)
    if from_link:
        switch.from_link(P1, octets, 0.0)
    else:
        switch.from_underlay(BLUE, vtep.ip, octets, 0.0)
    rows = switch.rows(0.0)
    assert len(rows) <= 1
    assert all(row.mac == octets[6:12] for row in rows)


@settings(deadline=None)
@given(IPV4S, STATIONS, STATIONS, PEERS)
def test_an_answer_names_the_owner_and_goes_to_the_asker(
    wanted: Ip, asker: Mac, owner: Mac, vtep: Vtep
) -> None:
    switch = built(open_ports=True, suppress=True)
    switch.program([SetEntry(BLUE, owner, vtep, (wanted,))])
    action = switch.from_link(P1, arp.request(asker, ip("10.9.0.99"), wanted), 0.0)
    if asker == owner:
        assert isinstance(action, Flood)
    else:
        assert isinstance(action, Reply)
        answer = arp.parse(action.frame)
        assert action.frame[:12] == asker + owner
        assert (answer.sender_mac, answer.sender_ip, answer.target_mac) == (owner, wanted, asker)
