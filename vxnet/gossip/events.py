"""What a control plane tells the rest of vxnet: values, in the order they became true."""

from dataclasses import dataclass
from enum import IntEnum, IntFlag, StrEnum
from typing import NewType

from vxnet.wire.addr import Ip, Mac, Vni, Vtep

__all__ = [
    "Alarm",
    "AlarmKind",
    "AlarmOver",
    "Entry",
    "EntryFlag",
    "EntryGone",
    "EntrySet",
    "Event",
    "Feature",
    "LetterReceived",
    "Member",
    "MemberChanged",
    "MemberState",
    "NetworkPeer",
    "NodeId",
    "Record",
    "RecordGone",
    "RecordKind",
    "RecordSet",
]

NodeId = NewType("NodeId", int)
"""64 random bits, drawn once and kept; 0 is nobody."""


class MemberState(StrEnum):
    """What is believed of a member."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    DEAD = "dead"
    LEFT = "left"


class EntryFlag(IntFlag):
    """What an entry claims beyond its addresses."""

    NONE = 0
    STATIC = 1  # pinned by the operator: wins over any that is not
    ROUTER = 2  # RFC 4861: answers on its behalf carry R
    GATEWAY = 4


class Feature(IntFlag):
    """What a host can do that not every host can: bits of its own record."""

    NONE = 0
    COMPLETES_CHECKSUMS = 1  # inner checksums may be left to it (VXLAN's remote checksum offload)


class RecordKind(IntEnum):
    """What a record of the catalogue describes."""

    NETWORK = 2
    CLAIM = 3  # a part of a subnet that its owner hands out
    SERVICE = 4
    NAME = 5


@dataclass(frozen=True, slots=True)
class Member:
    """A host as the control plane sees it. `since` is the loop's clock, in seconds."""

    id: NodeId
    name: str
    state: MemberState
    vtep: Vtep
    gossip: tuple[str, int]
    since: float
    rtt_s: float | None = None
    version: str = ""
    datapath: str = ""
    local: bool = False
    pings: int = 0  # questions to it since it was met, and those not answered in time
    pings_lost: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A station of a network: where it is and which addresses it has (at most 8)."""

    vni: Vni
    mac: Mac
    ips: tuple[Ip, ...]
    vtep: Vtep
    owner: NodeId
    sequence: int = 0  # RFC 7432 §15: raised by one at each move
    flags: EntryFlag = EntryFlag.NONE
    version: int = 0
    announced_ms: int = 0  # Unix time by the owner's clock, for people; 0 where it is not known


@dataclass(frozen=True, slots=True)
class Record:
    """A row of the catalogue that every member holds, whether it has the network or not."""

    kind: RecordKind
    key: bytes  # at most 64 octets
    body: bytes  # msgpack of what `kind` says, at most 900 octets
    owner: NodeId
    version: int = 0


@dataclass(frozen=True, slots=True)
class MemberChanged:
    """A member came, went, or is in doubt."""

    member: Member
    previous: MemberState | None


@dataclass(frozen=True, slots=True)
class NetworkPeer:
    """A host attached itself to a network, or no longer has it (or is suspended).

    Told again where what it can do has changed.
    """

    vni: Vni
    owner: NodeId
    vtep: Vtep
    present: bool
    features: Feature = Feature.NONE


@dataclass(frozen=True, slots=True)
class EntrySet:
    """The winning entry for (vni, mac) is this one now."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class EntryGone:
    """Nobody holds this station any more."""

    vni: Vni
    mac: Mac


@dataclass(frozen=True, slots=True)
class RecordSet:
    """An owner published this record, or changed it. Two owners' records of one key both stand."""

    record: Record


@dataclass(frozen=True, slots=True)
class RecordGone:
    """An owner took this record back, or is gone for good."""

    kind: RecordKind
    key: bytes
    owner: NodeId


class AlarmKind(StrEnum):
    """What an operator should look at."""

    DUPLICATE_NAME = "duplicate_name"
    DUPLICATE_ADDRESS = "duplicate_address"
    DUPLICATE_IP = "duplicate_ip"
    DUPLICATE_ID = "duplicate_id"
    MAC_FROZEN = "mac_frozen"
    STREAM_MISMATCH = "stream_mismatch"
    VERSION_MISMATCH = "version_mismatch"
    BOUND_REACHED = "bound_reached"
    SEEDS_SILENT = "seeds_silent"


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something is wrong in the cluster; `text` is a sentence for people."""

    kind: AlarmKind
    text: str


@dataclass(frozen=True, slots=True)
class AlarmOver:
    """What an alarm of this text was about is over."""

    text: str


@dataclass(frozen=True, slots=True)
class LetterReceived:
    """A member, verified and alive, said this to us alone."""

    sender: NodeId
    body: bytes


Event = (
    MemberChanged
    | NetworkPeer
    | EntrySet
    | EntryGone
    | RecordSet
    | RecordGone
    | Alarm
    | AlarmOver
    | LetterReceived
)
