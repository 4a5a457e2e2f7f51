"""The rows that hosts tell each other about addresses, and the keys they are told under.

A key is one letter, the network's id, and what it is about; an address in a key is 4 or 16 octets.
"""

from typing import Any, Final

import msgspec

from vxnet.cnm.model import NetworkId
from vxnet.errors import UNREADABLE, WireError

__all__ = [
    "AnswerRow",
    "LeaseRow",
    "RangeRow",
    "RequestRow",
    "SurroundingsRow",
    "key_of",
    "network_of_key",
    "read_row",
    "write_row",
]

KEY_BYTES_MAX: Final = 64
ID_BYTES: Final = 16


class RangeRow(msgspec.Struct, frozen=True, array_like=True):
    """Addresses `start` to `end` of a subnet, counted from its first, are `owner`'s. Letter R."""

    start: int
    end: int
    owner: int
    version: int
    creator: int


class LeaseRow(msgspec.Struct, frozen=True, array_like=True):
    """An address is in use, or in grace. Letter L."""

    holder: str
    since_ms: int
    in_grace: bool = False


class RequestRow(msgspec.Struct, frozen=True, array_like=True):
    """The speaker asks `owner` for an address, or for this one. Letter Q."""

    owner: int
    number: int
    """Of the request, so that an answer is not taken for another's."""
    prefix: str
    wanted: int = -1


class AnswerRow(msgspec.Struct, frozen=True, array_like=True):
    """A request was refused. Letter A; the key has who asked."""

    number: int
    reason: str


class SurroundingsRow(msgspec.Struct, frozen=True, array_like=True):
    """Subnets that the speaker is in or routes to. Letter S; of no network, the key has a host."""

    prefixes: tuple[str, ...]


Row = RangeRow | LeaseRow | RequestRow | AnswerRow | SurroundingsRow

LETTERS: Final[dict[bytes, type[Row]]] = {
    b"R": RangeRow,
    b"L": LeaseRow,
    b"Q": RequestRow,
    b"A": AnswerRow,
    b"S": SurroundingsRow,
}
NUMBER_MAX: Final = 1 << 128


def key_of(row: Row, network: NetworkId, about: bytes) -> bytes:
    """Under what a row is told. `about` is an address, or a node's id."""
    letter = next(letter for letter, kind in LETTERS.items() if isinstance(row, kind))
    return letter + bytes.fromhex(network) + about


def network_of_key(key: bytes) -> tuple[NetworkId, bytes]:
    """The network that a key is about, and what of it. Raises WireError."""
    if not 1 + ID_BYTES < len(key) <= KEY_BYTES_MAX or key[:1] not in LETTERS:
        raise WireError(f"a claim under a key of {len(key)} octets")
    return NetworkId(key[1 : 1 + ID_BYTES].hex()), key[1 + ID_BYTES :]


def write_row(row: Row) -> bytes:
    """A row as it travels; numbers may be larger than msgpack's, so they go as octets."""
    values = [
        value.to_bytes(17)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 1 << 63
        else value
        for value in msgspec.structs.astuple(row)
    ]
    return msgspec.msgpack.encode(values)


def read_row(key: bytes, body: bytes) -> Row:
    """What `write_row` wrote. Raises WireError."""
    try:
        values = msgspec.msgpack.decode(body, type=list[Any])
        plain = [int.from_bytes(v) if isinstance(v, bytes) else v for v in values]
        row = msgspec.convert(plain, LETTERS[key[:1]])
    except (*UNREADABLE, KeyError) as error:
        raise WireError(f"a claim cannot be read: {error}") from None
    numbers = (v for v in msgspec.structs.astuple(row) if isinstance(v, int))
    if any(not -1 <= number <= NUMBER_MAX for number in numbers):
        raise WireError("a claim with a number no address space has")
    return row
