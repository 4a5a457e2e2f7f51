"""A network of two hosts with names, and questions as clients send them."""

import ipaddress

import dns.message
import dns.rdatatype

from vxnet.cnm.model import NetworkId
from vxnet.names.directory import Directory
from vxnet.names.lookup import Asker, Lookup, Scope, ServiceNames
from vxnet.names.query import parse
from vxnet.names.responder import Answered, Forwarded, Responder
from vxnet.names.rows import Membership, NameRow, Serving, write_row

__all__ = ["ASKER", "BLUE", "RED", "Site", "row"]

BLUE = Scope(
    NetworkId("0b" * 16),
    "blue",
    (ipaddress.ip_network("10.9.0.0/24"), ipaddress.ip_network("fd09::/64")),
    (ipaddress.ip_address("10.9.0.254"),),
)
RED = Scope(NetworkId("0e" * 16), "red", (ipaddress.ip_network("10.8.0.0/24"),))
ASKER = Asker((BLUE,))


def row(
    name: str,
    *addresses: str,
    network: Scope = BLUE,
    aliases: tuple[str, ...] = (),
    **serving: Serving,
) -> NameRow:
    """An endpoint's row; keywords are services, each with how it serves."""
    return NameRow(
        bytes.fromhex(network.id),
        name,
        b"\x02\0\0\0\0\1",
        tuple(ipaddress.ip_address(text).packed for text in addresses),
        aliases,
        tuple(Membership(service, how) for service, how in serving.items()),
    )


class Site:
    """What one host knows, and what it answers."""

    def __init__(self) -> None:
        self.directory = Directory()
        self.services: dict[tuple[NetworkId, str], ServiceNames] = {}
        self.responder = Responder(
            Lookup(self.directory, lambda network, name: self.services.get((network, name)))
        )
        self.turn = 0
        self.directory.set_live(frozenset({1, 2}))

    def hear(self, number: int, told: NameRow, owner: int = 1) -> None:
        """A host told of an endpoint."""
        self.directory.hear(owner, number.to_bytes(16), write_row(told))

    def outcome(self, packet: bytes, asker: Asker = ASKER, *, stream: bool = False) -> object:
        """What becomes of a packet."""
        self.turn += 1
        return self.responder.answer(
            packet,
            parse(packet),
            asker,
            version=self.directory.version,
            turn=self.turn,
            stream=stream,
        )

    def ask(
        self, name: str, kind: str = "A", asker: Asker = ASKER, *, stream: bool = False
    ) -> dns.message.Message:
        """The answer to a question that must not be passed on, as a client reads it."""
        question = dns.message.make_query(name, kind, use_edns=0)
        outcome = self.outcome(question.to_wire(), asker, stream=stream)
        assert isinstance(outcome, Answered), outcome
        answer = dns.message.from_wire(outcome.packet)
        assert question.is_response(answer)
        return answer

    def is_passed_on(self, name: str, kind: str = "A", asker: Asker = ASKER) -> bool:
        """Whether the host's resolvers are asked."""
        question = dns.message.make_query(name, kind).to_wire()
        return isinstance(self.outcome(question, asker), Forwarded)

    def addresses(self, name: str, kind: str = "A", asker: Asker = ASKER) -> list[str]:
        """What a name stands for, in the order of the answer."""
        wanted = dns.rdatatype.from_text(kind)
        answer = self.ask(name, kind, asker, stream=True)
        return [str(rdata) for rrset in answer.answer if rrset.rdtype == wanted for rdata in rrset]
