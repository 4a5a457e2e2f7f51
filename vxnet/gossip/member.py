"""A member: who it says it is, and what this node believes of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from vxnet.gossip.events import Member, MemberState, NodeId
from vxnet.wire.addr import Ip, Vtep, format_ip
from vxnet.wire.gossip import Alive

if TYPE_CHECKING:
    from vxnet.gossip.suspicion import Suspicion
    from vxnet.wire.rows import NodeBody

__all__ = ["FORWARDING", "PROTOCOL", "Address", "Identity", "Peer", "newer"]

PROTOCOL = 1
"""The version of the protocol this code speaks."""

FORWARDING = frozenset((MemberState.ALIVE, MemberState.SUSPECT))
"""The states in which a member's stations are forwarded to."""

RANK = {
    MemberState.ALIVE: 0,
    MemberState.SUSPECT: 1,
    MemberState.DEAD: 2,
    MemberState.LEFT: 3,
}


# Asked for at every packet: a member of an Enum costs more each time than a name of a module.
ALIVE = MemberState.ALIVE
SUSPECT = MemberState.SUSPECT

NOTHING: Mapping[int, int] = MappingProxyType({})


class Address(NamedTuple):
    """Where gossip is sent: UDP and TCP."""

    ip: Ip
    port: int

    def __str__(self) -> str:
        text = format_ip(self.ip)
        return f"[{text}]:{self.port}" if len(self.ip) == 16 else f"{text}:{self.port}"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is. `epoch` is higher at each start; the id is drawn once and kept."""

    id: NodeId
    epoch: int
    name: str
    vtep: Vtep
    address: Address
    version: str = ""
    datapath: str = ""
    cluster: str = "vxnet"
    low: int = PROTOCOL  # the versions of the protocol it can speak
    high: int = PROTOCOL
    features: int = 0


class Peer:
    """What this node knows of another, or of itself."""

    __slots__ = (
        "address",
        "answers_missed",
        "asked",
        "attached",
        "attempts",
        "epoch",
        "id",
        "inc",
        "info",
        "name",
        "pinged",
        "rtt_s",
        "since",
        "state",
        "suspicion",
        "verified",
        "vtep",
    )

    def __init__(self, alive: Alive, now: float) -> None:
        self.id = NodeId(alive.id)
        self.state = MemberState.ALIVE
        self.verified = False  # it answered us itself, and we know that it was itself
        self.since = now
        self.rtt_s: float | None = None
        self.suspicion: Suspicion | None = None
        self.info: NodeBody | None = None
        self.attached = NOTHING  # VNI to attachment, from its own record
        self.pinged = 0  # how often we asked it whether it lives
        self.answers_missed = 0  # and how often no answer came in time
        self.attempts = 0  # questions to it while it was unverified
        self.asked: float | None = None  # when it was asked last, in this state
        self.describe(alive)

    def describe(self, alive: Alive) -> None:
        """Take over what it says of itself."""
        self.epoch = alive.epoch
        self.inc = alive.inc
        self.name = alive.name
        self.vtep = Vtep(Ip(alive.vtep), alive.vtep_port)
        self.address = Address(Ip(alive.ip or alive.vtep), alive.port)

    def copy(self, now: float) -> "Peer":
        """The same member as another node knows it that has asked it nothing yet."""
        again = Peer(self.alive(), now)
        again.state = self.state
        again.verified = self.verified
        again.info = self.info
        again.attached = self.attached
        again.vtep = self.vtep  # the very same: clusters that begin whole make millions
        again.address = self.address
        return again

    @property
    def forwards(self) -> bool:
        """Whether its entries count."""
        return self.state is ALIVE or self.state is SUSPECT

    @property
    def live(self) -> bool:
        """Whether it counts as one of us: verified, and not gone."""
        return self.verified and (self.state is ALIVE or self.state is SUSPECT)

    def alive(self) -> Alive:
        """What it says of itself, for others."""
        ip, port = self.address
        return Alive(
            self.id,
            self.epoch,
            self.inc,
            self.name,
            self.vtep.ip,
            self.vtep.port,
            port,
            None if ip == self.vtep.ip else ip,
        )

    def member(self, *, local: bool = False) -> Member:
        """The value that the rest of vxnet gets."""
        info = self.info
        return Member(
            id=self.id,
            name=self.name,
            state=self.state,
            vtep=self.vtep,
            gossip=(format_ip(self.address.ip), self.address.port),
            since=self.since,
            rtt_s=self.rtt_s,
            version=info.version if info else "",
            datapath=info.datapath if info else "",
            local=local,
            pings=self.pinged,
            pings_lost=self.answers_missed,
        )


def newer(peer: Peer, epoch: int, inc: int, state: MemberState) -> bool:
    """Whether a claim about a member goes beyond what is believed of it."""
    if peer.state is MemberState.LEFT and epoch <= peer.epoch:
        return False  # a left epoch never returns
    if epoch != peer.epoch:
        return epoch > peer.epoch
    if inc != peer.inc:
        return inc > peer.inc
    return RANK[state] > RANK[peer.state]
