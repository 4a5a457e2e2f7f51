"""The network between agents: the loopback of one namespace, where they can be cut off and counted.

Agents are told apart by the group their process runs as and by the address they listen on: the
loopback lets a connection that was bound to no address come from any.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from vxnet.demo.namespace import Namespace

__all__ = ["Traffic", "Wire", "address_of", "group_of"]

GROUPS = 64_000  # the agents' groups are numbered from here

# Dropped on arrival, not on departure: there the sender would be told (EPERM), which no network
# does, and Serf would not even suspect whom it cannot send to.
RULES = """
table ip wire {
    counter datagrams { }
    counter everything { }
    counter crossing { }
    chain borders { }
    chain gate { }
    chain leaving {
        type filter hook output priority 0
        counter name everything
        meta l4proto udp counter name datagrams
        jump borders
    }
    chain arriving { type filter hook input priority 0; jump gate; }
}
"""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What was sent so far: IP packets, and bytes with all headers from IP's on."""

    packets: int
    bytes: int


def address_of(agent: int) -> str:
    """Where an agent listens."""
    return f"127.1.{agent // 250}.{agent % 250 + 1}"


def group_of(agent: int) -> int:
    """The group its process runs as."""
    return GROUPS + agent


class Wire:
    """Makes the rules in a namespace of its own."""

    def __init__(self, place: Namespace) -> None:
        self._place = place
        place.run(["ip", "link", "set", "lo", "up"])
        self._nft(RULES)

    def cut(self, ones: Iterable[int], others: Iterable[int]) -> None:
        """Let nothing pass between two groups of agents, as an unplugged cable would."""
        ones, others = list(ones), list(others)
        self._nft(
            "flush chain ip wire borders\n"
            + _border(ones, others)
            + _border(others, ones)
            + "add rule ip wire gate meta mark 1 drop\n"
        )

    def mend(self) -> None:
        """Undo `cut`. What passes between the two groups from now on is counted."""
        self._nft("flush chain ip wire gate\nreset counter ip wire crossing\n")

    def datagrams(self) -> Traffic:
        """UDP only."""
        return self._count("datagrams")

    def everything(self) -> Traffic:
        """UDP and TCP."""
        return self._count("everything")

    def crossing(self) -> Traffic:
        """Between the two groups of the last `cut`, since the last `mend`."""
        return self._count("crossing")

    def _count(self, counter: str) -> Traffic:
        said = self._place.run(["nft", "-j", "list", "counter", "ip", "wire", counter]).stdout
        found = next(c["counter"] for c in json.loads(said)["nftables"] if "counter" in c)
        return Traffic(found["packets"], found["bytes"])

    def _nft(self, rules: str) -> None:
        self._place.run(["nft", "-f", "-"], input_text=rules)


def _border(senders: list[int], receivers: list[int]) -> str:
    groups = ", ".join(str(group_of(agent)) for agent in senders)
    addresses = ", ".join(address_of(agent) for agent in receivers)
    return (
        f"add rule ip wire borders meta skgid {{ {groups} }} ip daddr {{ {addresses} }} "
        "meta mark set 1 counter name crossing\n"
    )
