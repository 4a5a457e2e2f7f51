"""What the way to a peer carries, found on a virtual clock over ways that lose and swallow."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vxnet.control.paths import MAGIC, Paths, parse
from vxnet.control.search import EXACT, LEAST
from vxnet.errors import WireError
from vxnet.gossip.member import Address
from vxnet.wire.addr import Vtep, parse_ip

IP = parse_ip("192.0.2.2")
PEER, HERE = Address(IP, 7947), Address(parse_ip("192.0.2.1"), 7947)
VTEP = Vtep(IP, 4789)
TICK_S = 0.1


class Way:
    """Two hosts; of what is sent, what is too large for the way is swallowed without a word."""

    def __init__(self, most: int, carries: int, *, loss: float = 0.0, rtt_s: float = 0.0) -> None:
        self.carries, self.loss, self.rtt_s = carries, loss, rtt_s
        self.now = 0.0
        self.found: list[int | None] = []
        self.octets = 0
        self._random = Random(1)
        self._coming: list[tuple[float, bytes]] = []
        self.paths = Paths(most, self._sent, lambda _, mtu: self.found.append(mtu))
        self._far = Paths(most, self._answered, lambda *_: None)
        self.paths.set_peers([(VTEP, PEER)], self.now)

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += TICK_S
            due = [data for at, data in self._coming if at <= self.now]
            self._coming = [(at, data) for at, data in self._coming if at > self.now]
            for data in due:
                self.paths.receive(data, PEER, self.now)
            self.paths.tick(self.now)

    @property
    def mtu(self) -> int | None:
        return self.paths.mtus().get(VTEP)

    def _sent(self, to: Address, data: bytes) -> None:
        assert to == PEER
        self.octets += len(data)
        if len(data) + 28 <= self.carries and self._random.random() >= self.loss:
            self._far.receive(data, HERE, self.now)

    def _answered(self, _: Address, data: bytes) -> None:
        if self._random.random() >= self.loss:
            self._coming.append((self.now + self.rtt_s, data))


@pytest.mark.conformance("M2")
@given(
    most=st.sampled_from([1400, 1500, 9000, 65_535]),
    share=st.floats(0, 1),
    rtt_s=st.sampled_from([0.0, 0.2]),
)
def test_any_way_is_found_to_carry_what_it_carries(most: int, share: float, rtt_s: float) -> None:
    carries = LEAST + round(share * (most - LEAST))
    way = Way(most, carries, rtt_s=rtt_s)
    way.run(10.0)
    assert way.mtu is not None
    assert carries - EXACT < way.mtu <= carries


@pytest.mark.conformance("M2")
@given(most=st.sampled_from([1500, 9000]), share=st.floats(0, 1), loss=st.sampled_from([0, 0.05]))
def test_a_black_hole_is_found_within_ten_seconds(most: int, share: float, loss: float) -> None:
    way = Way(most, most, loss=loss)
    way.run(20.0)
    assert way.mtu == most
    way.carries = LEAST + round(share * (most - LEAST - 1))
    way.run(10.0)
    assert way.mtu is not None
    assert way.mtu <= way.carries


def test_a_way_that_loses_now_and_then_is_not_taken_for_narrow() -> None:
    way = Way(1500, 1500, loss=0.05)
    way.run(300.0)
    assert way.mtu == 1500
    assert set(way.found) <= {None}


@pytest.mark.conformance("M2")
def test_a_way_that_was_mended_is_used_again() -> None:
    way = Way(9000, 1400)
    way.run(10.0)
    assert way.mtu == 1400
    way.carries = 9000
    way.run(70.0)
    assert way.mtu == 9000
    assert way.found[-1] is None  # nothing to be careful of


def test_one_that_answers_nothing_changes_nothing() -> None:
    way = Way(1500, 0)
    way.run(30.0)
    assert way.mtu is None
    assert way.found == []
    way.carries = 1500
    way.run(10.0)
    assert way.mtu == 1500
    way.carries = 0  # it is down: not a matter of size
    way.run(30.0)
    assert way.mtu == 1500


def test_it_costs_a_packet_a_second() -> None:
    way = Way(1500, 1500)
    way.run(100.0)
    assert way.octets <= 110 * 1500


def test_many_peers_share_what_may_be_sent() -> None:
    sent: list[tuple[Address, bytes]] = []
    paths = Paths(1500, lambda to, data: sent.append((to, data)), lambda *_: None)
    others = [Address(parse_ip(f"10.0.{n // 250}.{n % 250}"), 7947) for n in range(1000)]
    paths.set_peers([(Vtep(other.ip, 4789), other) for other in others], 0.0)
    answered = 0
    for step in range(300):
        paths.tick(step / 10)
        for to, data in sent[answered:]:
            paths.receive(bytes([MAGIC, 2]) + data[2:10], to, step / 10)
        answered = len(sent)
    assert answered <= 1000 * (2 + 30 / 5)


def test_a_peer_that_left_is_forgotten() -> None:
    way = Way(1500, 1400)
    way.run(5.0)
    way.paths.set_peers([], way.now)
    assert way.found[-1] is None
    assert way.paths.mtus() == {}


def test_an_answer_counts_once_and_only_from_whom_it_was_asked() -> None:
    sent: list[bytes] = []
    paths = Paths(1500, lambda _, data: sent.append(data), lambda *_: None)
    paths.set_peers([(VTEP, PEER)], 0.0)
    paths.tick(0.0)
    answer = bytes([MAGIC, 2]) + sent[-1][2:10]
    for source in (HERE, PEER, PEER):
        paths.receive(answer, source, 0.1)
    assert paths.refused == 3  # the first has used the number up
    assert paths.mtus() == {}


def test_a_probe_is_answered_by_less() -> None:
    sent: list[bytes] = []
    paths = Paths(1500, lambda _, data: sent.append(data), lambda *_: None)
    paths.receive(bytes([MAGIC, 1]) + bytes(8), PEER, 0.0)
    assert len(sent[0]) == 10


@given(st.binary(max_size=40))
def test_any_octets_are_a_probe_or_refused(data: bytes) -> None:
    paths = Paths(1500, lambda *_: None, lambda *_: None)
    paths.receive(data, PEER, 0.0)
    try:
        parse(data)
    except WireError:
        assert paths.refused == 1
