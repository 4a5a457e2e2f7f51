"""What is passed on: asked once, answered to all, kept for as long as it says, and never looped."""

from random import Random

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from vxnet.names.cache import AnswerCache
from vxnet.names.pending import PENDING_MAX, TRIES_MAX, TRY_S, Pending
from vxnet.names.query import DnsError, Fault, parse


def question(name: str = "example.org") -> bytes:
    return dns.message.make_query(name, "A", use_edns=0).to_wire()


def answer(packet: bytes, ttl: int = 60, number: int | None = None) -> bytes:
    """What an upstream resolver says to a packet."""
    asked = dns.message.from_wire(packet)
    said = dns.message.make_response(asked)
    said.answer.append(dns.rrset.from_text(asked.question[0].name, ttl, "IN", "A", "192.0.2.7"))
    wire = said.to_wire()
    return wire if number is None else number.to_bytes(2) + wire[2:]


def ttl_of(packet: bytes) -> int:
    return int(dns.message.from_wire(packet).answer[0].ttl)


def test_one_question_is_asked_once_however_many_ask_it() -> None:
    pending, told = Pending(Random(1)), []
    packet = question()
    waiting = pending.ask(packet, parse(packet), 0.0, told.append)
    again = b"\0\7" + packet[2:]
    assert waiting is not None
    # A resolver that asks us back what we just asked it gets no further than here.
    assert pending.ask(again, parse(again), 0.1, told.append) is None
    heard = pending.hear(answer(waiting.packet))
    pending.settle(heard, b"said")
    assert told == [b"said", b"said"]
    assert (len(pending), pending.joined) == (0, 1)


def test_an_answer_that_nobody_asked_for_is_dropped() -> None:
    pending = Pending(Random(1))
    packet = question()
    waiting = pending.ask(packet, parse(packet), 0.0, lambda _: None)
    assert waiting is not None
    forged = [
        answer(waiting.packet, number=waiting.id ^ 1),  # a wrong id
        answer(question("other.org"), number=waiting.id),  # another question
        waiting.packet,  # a question
    ]
    for one in forged:
        with pytest.raises(DnsError) as caught:
            pending.hear(one)
        assert caught.value.fault is Fault.SPOOFED
    with pytest.raises(DnsError):
        pending.hear(b"short")
    assert pending.hear(answer(waiting.packet)) is waiting


def test_a_question_without_answer_is_tried_again_and_then_given_up() -> None:
    pending, told = Pending(Random(1)), []
    packet = question()
    waiting = pending.ask(packet, parse(packet), 0.0, told.append)
    now = 0.0
    for _ in range(TRIES_MAX - 1):
        assert pending.overdue(now + TRY_S / 2) == []
        now += TRY_S
        assert pending.overdue(now) == [waiting]
    assert pending.overdue(now + TRY_S) == []
    assert told == [None]


def test_what_waits_is_bounded() -> None:
    pending, told = Pending(Random(1)), []
    for number in range(PENDING_MAX + 10):
        packet = question(f"n{number}.org")
        pending.ask(packet, parse(packet), 0.0, told.append)
    assert len(pending) == PENDING_MAX
    assert told == [None] * 10


def test_an_answer_is_kept_for_as_long_as_it_says_with_its_ttl_running_down() -> None:
    cache = AnswerCache()
    packet = question()
    cache.put(packet[2:], answer(packet, ttl=60), 100.0)
    kept = cache.get(packet[2:], 140.0)
    assert kept is not None
    assert ttl_of(kept) == 20
    assert cache.get(packet[2:], 160.0) is None
    assert len(cache) == 0


def test_failures_and_answers_without_an_end_are_not_kept() -> None:
    cache = AnswerCache()
    packet = question()
    failed = dns.message.make_response(dns.message.from_wire(packet))
    failed.set_rcode(dns.rcode.SERVFAIL)
    empty = dns.message.make_response(dns.message.from_wire(packet))
    for said in (failed, empty):
        cache.put(packet[2:], said.to_wire(), 0.0)
    cache.put(packet[2:], answer(packet, ttl=0), 0.0)
    assert len(cache) == 0


def test_that_there_is_none_is_kept_as_the_zone_says() -> None:
    cache = AnswerCache()
    packet = question()
    said = dns.message.make_response(dns.message.from_wire(packet))
    said.set_rcode(dns.rcode.NXDOMAIN)
    said.authority.append(dns.rrset.from_text("org.", 900, "IN", "SOA", "a. b. 1 2 3 4 30"))
    cache.put(packet[2:], said.to_wire(), 0.0)
    assert cache.get(packet[2:], 29.0) is not None
    assert cache.get(packet[2:], 30.0) is None


def test_the_cache_is_bounded_in_number_and_octets() -> None:
    cache = AnswerCache(answers_max=10, octets_max=400)
    packets = [question(f"n{number}.org") for number in range(20)]
    for packet in packets:
        cache.put(packet[2:], answer(packet), 0.0)
    assert 0 < len(cache) <= 400 // len(answer(packets[0]))
    assert cache.get(packets[-1][2:], 1.0) is not None
    assert cache.get(packets[0][2:], 1.0) is None


def test_a_damaged_answer_is_not_kept() -> None:
    packet = question()
    with pytest.raises(DnsError) as caught:
        AnswerCache().put(packet[2:], answer(packet)[:-3], 0.0)
    assert caught.value.fault is Fault.MALFORMED
