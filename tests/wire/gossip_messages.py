"""Every message of the gossip, drawn from its own declaration: what is added later is drawn too."""

from typing import Any, get_args

from hypothesis import settings
from hypothesis import strategies as st
from msgspec import inspect

from vxnet.wire.gossip import Message

__all__ = ["BRIEF", "MESSAGES", "messages", "values"]

BRIEF = settings(max_examples=15)
"""For what is tried on every type: the machine is shared, the types are many."""

MESSAGES: tuple[type, ...] = get_args(Message)
ADDRESS = (4, 16)  # the only bytes that are bounded so are addresses, and only these two fit


def values(kind: type) -> st.SearchStrategy[Any]:
    """Valid values of a declared type, at its bounds too."""
    return _strategy(inspect.type_info(kind))


def messages() -> st.SearchStrategy[Any]:
    """Valid messages of any type."""
    return st.sampled_from(MESSAGES).flatmap(values)


def _strategy(kind: inspect.Type) -> st.SearchStrategy[Any]:
    match kind:
        case inspect.StructType(cls=cls, fields=fields):
            parts = {field.name: _strategy(field.type) for field in fields}
            return st.builds(_whole(cls), **parts)
        case inspect.UnionType(types=types):
            return st.one_of(*map(_strategy, types))
        case inspect.IntType(ge=low, le=high):
            return st.integers(low, 2**64 - 1 if high is None else high)
        case inspect.StrType(max_length=most):
            return st.text(max_size=most)
        case inspect.BytesType(min_length=least, max_length=most):
            if (least, most) == ADDRESS:
                return st.sampled_from(ADDRESS).flatmap(lambda n: st.binary(min_size=n, max_size=n))
            return st.binary(min_size=least or 0, max_size=most)
        case inspect.ListType(item_type=item):
            return st.lists(_strategy(item), max_size=4)
        case inspect.VarTupleType(item_type=item, max_length=most):
            return st.lists(_strategy(item), max_size=min(4, most or 4)).map(tuple)
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
    raise AssertionError(f"no values are known for {kind}")


def _whole(cls: type) -> Any:
    """How a value is made: a VTEP of an entry goes with a port, and no port without."""
    if "vtep" not in cls.__annotations__ or "sequence" not in cls.__annotations__:
        return cls

    def entry(**fields: Any) -> Any:
        if fields["vtep"] is not None:
            fields["port"] = fields["port"] or 1
        return cls(**fields)

    return entry
