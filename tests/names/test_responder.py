"""What the resolver of a network answers."""

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import pytest

from tests.names.site import ASKER, BLUE, RED, Site, row
from vxnet.names.lookup import Asker, ServiceNames
from vxnet.names.responder import Answered, Forwarded, refuse, shorten
from vxnet.names.rows import Serving
from vxnet.wire.addr import parse_ip


@pytest.fixture
def site() -> Site:
    made = Site()
    made.hear(1, row("web", "10.9.0.10", "fd09::10", aliases=("www",)))
    made.hear(2, row("db", "10.9.0.20"), owner=2)
    made.hear(3, row("secret", "10.8.0.3", network=RED))
    return made


@pytest.mark.parametrize("name", ["web", "WeB", "web.blue", "www", "www.BLUE"])
def test_an_endpoint_is_found_by_its_names(site: Site, name: str) -> None:
    assert site.addresses(name) == ["10.9.0.10"]
    assert site.addresses(name, "AAAA") == ["fd09::10"]


def test_there_is_no_error_where_a_name_has_no_address_of_that_version(site: Site) -> None:
    answer = site.ask("db", "AAAA")
    assert answer.rcode() == dns.rcode.NOERROR
    assert not answer.answer
    assert answer.authority  # says for how long that holds


def test_what_the_network_has_not_is_answered_for_the_networks_own_zone_only(site: Site) -> None:
    assert site.ask("nothing.blue").rcode() == dns.rcode.NXDOMAIN
    assert site.is_passed_on("nothing")
    assert site.is_passed_on("example.org")


def test_names_of_other_networks_are_seen_by_who_is_in_them(site: Site) -> None:
    assert site.is_passed_on("secret")
    assert site.is_passed_on("secret.red")
    both = Asker((BLUE, RED))
    assert site.addresses("secret", asker=both) == ["10.8.0.3"]
    assert site.addresses("secret.red", asker=both) == ["10.8.0.3"]
    assert site.ask("secret.blue", asker=both).rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize(
    ("address", "name"),
    [("10.0.9.10", ""), ("10.9.0.20", "db.blue."), ("10.9.0.254", "resolver.blue.")],
)
def test_addresses_of_the_network_have_their_names(site: Site, address: str, name: str) -> None:
    reverse = ".".join(reversed(address.split("."))) + ".in-addr.arpa"
    if not name:
        assert site.is_passed_on(reverse, "PTR")
    else:
        assert site.addresses(reverse, "PTR") == [name]


def test_an_address_that_nobody_has_is_not_asked_for_elsewhere(site: Site) -> None:
    assert site.ask("99.0.9.10.in-addr.arpa", "PTR").rcode() == dns.rcode.NXDOMAIN


def test_ipv6_addresses_have_names_too(site: Site) -> None:
    reverse = "0.1.0.0" + ".0" * 24 + ".9.0.d.f.ip6.arpa"
    assert site.addresses(reverse, "PTR") == ["web.blue."]


def test_names_of_a_dead_host_are_gone_and_back_with_it(site: Site) -> None:
    site.directory.set_live(frozenset({1}))
    assert site.is_passed_on("db")
    site.directory.set_live(frozenset({1, 2}))
    assert site.addresses("db") == ["10.9.0.20"]


def test_a_service_without_an_address_is_its_healthy_members_in_turn(site: Site) -> None:
    site.services[BLUE.id, "shop"] = ServiceNames("shop", ports=((80, "tcp"),))
    for number in range(3):
        site.hear(10 + number, row(f"s{number}", f"10.9.0.{30 + number}", shop=Serving.HEALTHY))
    site.hear(20, row("sick", "10.9.0.40", shop=Serving.FAILING))
    site.hear(21, row("going", "10.9.0.41", shop=Serving.DRAINING))
    seen = [site.addresses("shop") for _ in range(6)]
    assert {tuple(sorted(each)) for each in seen} == {("10.9.0.30", "10.9.0.31", "10.9.0.32")}
    assert {each[0] for each in seen} == {"10.9.0.30", "10.9.0.31", "10.9.0.32"}
    assert sorted(site.addresses("tasks.shop", "SRV")) == [f"0 1 80 s{n}.blue." for n in range(3)]
    assert site.addresses("shop", "TXT") == ['"service=shop"', '"healthy=3/5"']


def test_a_service_with_an_address_is_that_and_its_tasks_are_the_members(site: Site) -> None:
    vip = parse_ip("10.9.0.100")
    service = ServiceNames("shop", (vip,), ((80, "tcp"), (53, "udp")))
    site.services[BLUE.id, "shop"] = site.services[BLUE.id, "10.9.0.100"] = service
    site.hear(10, row("s0", "10.9.0.30", shop=Serving.HEALTHY))
    assert site.addresses("shop.blue") == ["10.9.0.100"]
    assert site.addresses("tasks.shop.blue") == ["10.9.0.30"]
    assert site.addresses("100.0.9.10.in-addr.arpa", "PTR") == ["shop.blue."]
    assert site.addresses("_80._tcp.shop", "SRV") == ["0 1 80 shop.blue."]
    assert site.addresses("_81._tcp.shop", "SRV") == []


def test_an_answer_too_long_for_a_datagram_says_so_and_comes_whole_by_tcp(site: Site) -> None:
    site.services[BLUE.id, "many"] = ServiceNames("many")
    for number in range(200):
        site.hear(100 + number, row(f"m{number}", f"10.9.1.{number}", many=Serving.HEALTHY))
    short = site.ask("many")
    assert short.flags & dns.flags.TC
    assert len(site.addresses("many")) == 200


def test_a_client_without_edns_gets_512_octets_at_most(site: Site) -> None:
    site.services[BLUE.id, "many"] = ServiceNames("many")
    for number in range(100):
        site.hear(100 + number, row(f"m{number}", f"10.9.1.{number}", many=Serving.HEALTHY))
    outcome = site.outcome(dns.message.make_query("many", "A").to_wire())
    assert isinstance(outcome, Answered)
    assert len(outcome.packet) <= 512
    assert dns.message.from_wire(outcome.packet).flags & dns.flags.TC


def test_what_was_answered_before_is_forgotten_when_names_change(site: Site) -> None:
    assert site.addresses("web") == ["10.9.0.10"]
    site.hear(1, row("web", "10.9.0.11"))
    assert site.addresses("web") == ["10.9.0.11"]


def test_other_opcodes_classes_and_versions_of_edns_are_told_so(site: Site) -> None:
    notify = dns.message.make_query("web", "A")
    notify.set_opcode(dns.opcode.NOTIFY)
    chaos = dns.message.make_query("version.bind", "TXT", rdclass="CH")
    newer = dns.message.make_query("web", "A", use_edns=1)
    wanted = [dns.rcode.NOTIMP, dns.rcode.REFUSED, dns.rcode.BADVERS]
    for question, rcode in zip((notify, chaos, newer), wanted, strict=True):
        outcome = site.outcome(question.to_wire())
        assert isinstance(outcome, Answered)
        assert dns.message.from_wire(outcome.packet).rcode() == rcode


def test_a_refusal_and_a_shortened_answer_are_answers_to_the_question() -> None:
    question = dns.message.make_query("example.org", "A")
    packet = question.to_wire()
    refused = dns.message.from_wire(refuse(packet, stream=False))
    assert question.is_response(refused)
    assert refused.rcode() == dns.rcode.SERVFAIL
    answer = dns.message.make_response(question).to_wire() + bytes(600)
    outcome = Site().outcome(packet, ASKER)
    assert isinstance(outcome, Forwarded)
    short = dns.message.from_wire(shorten(answer, outcome.query.end, outcome.size_max))
    assert question.is_response(short)
    assert short.flags & dns.flags.TC
