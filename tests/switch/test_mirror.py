"""What a datapath that keeps a copy of the table is told."""

from vxnet.switch.actions import Deliver, PortId, Send
from vxnet.switch.forward import Switch
from vxnet.switch.limits import Limits
from vxnet.switch.model import Port, RemoveEntry, Segment, SetEntry
from vxnet.wire.addr import Ip, Mac, Vni, Vtep, parse_mac

VNI = Vni(7)
PORT = PortId(1)
FAR = Vtep(Ip(b"\xc0\0\x02\x02"), 4789)
NEAR_MAC, FAR_MAC, NEW_MAC = (parse_mac(f"02:00:00:00:00:0{n}") for n in (1, 2, 3))


def watched(limits: Limits | None = None) -> Switch:
    switch = Switch(limits)
    switch.watch()
    switch.set_segment(Segment(VNI, 1450))
    return switch


def frame(source: Mac, destination: Mac) -> bytes:
    return destination + source + b"\x08\0" + bytes(46)


def actions(switch: Switch) -> dict[bytes, Deliver | Send | None]:
    return {
        mac: None if station is None else station.action for _, mac, station in switch.changes()
    }


def test_every_change_is_told_once_as_it_stands() -> None:
    switch = watched()
    switch.add_port(Port(PORT, VNI, NEAR_MAC))
    switch.program([SetEntry(VNI, FAR_MAC, FAR), SetEntry(VNI, NEW_MAC, FAR)])
    switch.program([RemoveEntry(VNI, NEW_MAC)])
    assert actions(switch) == {NEAR_MAC: Deliver(PORT), FAR_MAC: Send(FAR), NEW_MAC: None}
    assert actions(switch) == {}
    switch.remove_port(PORT)
    assert actions(switch) == {NEAR_MAC: None}


def test_what_is_learned_and_forgotten_is_told() -> None:
    switch = watched()
    switch.add_port(Port(PORT, VNI))
    switch.from_link(PORT, frame(NEW_MAC, FAR_MAC), now=1.0)
    assert actions(switch) == {NEW_MAC: Deliver(PORT)}
    switch.expire(now=302.0)
    assert actions(switch) == {NEW_MAC: None}


def test_a_station_that_spoke_out_of_sight_is_not_forgotten() -> None:
    switch = watched()
    switch.add_port(Port(PORT, VNI))
    switch.from_link(PORT, frame(NEW_MAC, FAR_MAC), now=1.0)
    switch.refresh(VNI, NEW_MAC, seen=200.0)
    switch.refresh(VNI, NEW_MAC, seen=100.0)
    switch.refresh(VNI, FAR_MAC, seen=200.0)
    switch.expire(now=302.0)
    assert [row.mac for row in switch.rows(now=302.0)] == [NEW_MAC]
    switch.expire(now=500.0)
    assert switch.rows(now=500.0) == []


def test_a_blocked_port_is_named_until_it_gets_another_chance() -> None:
    limits = Limits()
    switch = watched(limits)
    other = PortId(2)
    for port in (PORT, other):
        switch.add_port(Port(port, VNI))
    assert switch.blocked() == set()
    for _ in range(limits.flaps_max + 1):
        for port in (PORT, other):
            switch.from_link(port, frame(NEW_MAC, FAR_MAC), now=1.0)
    assert switch.blocked() == {other}
    switch.expire(now=1.0 + limits.blocked_s)
    assert switch.blocked() == set()
