"""Rows of the gossip's streams, what they hold, and the numbers that streams are named by."""

from typing import Annotated, Any, TypeVar, cast

import msgspec
from msgspec import Meta, Struct

from vxnet.errors import UNREADABLE, WireError

__all__ = [
    "U16",
    "U24",
    "U32",
    "U48",
    "U64",
    "Address",
    "AttachBody",
    "EntryBody",
    "Head",
    "Item",
    "KeyId",
    "Name",
    "NodeBody",
    "Port",
    "Row",
    "Scope",
    "Text",
    "Token",
    "check_addresses",
    "decode_row_body",
]

U16 = Annotated[int, Meta(ge=0, le=2**16 - 1)]
U24 = Annotated[int, Meta(ge=0, le=2**24 - 1)]
U32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
U48 = Annotated[int, Meta(ge=0, le=2**48 - 1)]
U64 = Annotated[int, Meta(ge=0)]  # msgpack has nothing longer
Scope = Annotated[int, Meta(ge=0, le=2**24)]  # 0, or VNI + 1: VNI 0 is a network too
Name = Annotated[str, Meta(max_length=64)]
Text = Annotated[str, Meta(max_length=200)]
Port = Annotated[int, Meta(ge=1, le=2**16 - 1)]
Address = Annotated[bytes, Meta(min_length=4, max_length=16)]  # and `check_addresses`
Token = Annotated[bytes, Meta(min_length=8, max_length=8)]
KeyId = Annotated[bytes, Meta(min_length=4, max_length=4)]


def check_addresses(*addresses: bytes | None) -> None:
    """Let through four octets (IPv4), sixteen (IPv6) or none. Raises ValueError, which the decoder
    tells as it tells any other value out of range.
    """
    for address in addresses:
        if address is not None and len(address) not in (4, 16):
            raise ValueError(f"an address of {len(address)} octets")


class Row(Struct, array_like=True, frozen=True, gc=False):
    """One row of a stream; without a body it is a tombstone."""

    kind: Annotated[int, Meta(ge=0, le=255)]
    key: Annotated[bytes, Meta(max_length=64)]
    ver: U48
    body: Annotated[bytes, Meta(max_length=960)] | None = None


class NodeBody(Struct, array_like=True, frozen=True, gc=False):
    """The node's own record: what it runs, what it speaks, which keys it accepts."""

    version: Annotated[str, Meta(max_length=32)]
    datapath: Annotated[str, Meta(max_length=16)]
    low: U16
    high: U16
    features: U32
    keys: Annotated[tuple[KeyId, ...], Meta(max_length=16)] = ()


class AttachBody(Struct, array_like=True, frozen=True, gc=False):
    """The node has a network; `att` counts how often it took it up."""

    att: U32


class EntryBody(Struct, array_like=True, frozen=True, gc=False):
    """A station behind this node; `vtep` only where it is not the node's own."""

    flags: Annotated[int, Meta(ge=0, le=255)]
    sequence: U32
    ips: Annotated[tuple[Address, ...], Meta(max_length=8)]
    vtep: Address | None = None
    port: U16 = 0
    at_ms: U48 = 0
    """Unix time of the announcement by the owner's clock: told to people, never compared."""

    def __post_init__(self) -> None:
        check_addresses(self.vtep, *self.ips)
        if self.vtep is not None and not self.port:
            raise ValueError("a VTEP without a port")


BodyT = TypeVar("BodyT", NodeBody, AttachBody, EntryBody)


class Head(Struct, array_like=True, frozen=True, gc=False):
    """A stream as its owner last described it."""

    owner: U64
    epoch: U48
    scope: Scope
    att: U32
    ver: U48
    floor: U48
    count: U32
    xor: U64


class Item(Struct, array_like=True, frozen=True, gc=False):
    """How far somebody holds a stream; `count` and `xor` where the holder is complete."""

    owner: U64
    epoch: U48
    scope: Scope
    att: U32
    ver: U48
    count: U32 = 0
    xor: U64 = 0


_bodies: dict[type, msgspec.msgpack.Decoder[Any]] = {
    cls: msgspec.msgpack.Decoder(cls)  # a decoder for each type is compiled once
    for cls in (NodeBody, AttachBody, EntryBody)
}


def decode_row_body(data: bytes, cls: type[BodyT]) -> BodyT:
    """Read what a row holds. Raises WireError where it is not a `cls`."""
    try:
        return cast("BodyT", _bodies[cls].decode(data))
    except UNREADABLE as error:
        raise WireError(f"a row that holds no {cls.__name__}: {error}") from None
