"""The one chooser between the two datapaths; nothing else knows that there are two."""

from collections.abc import Callable
from typing import NamedTuple

from vxnet.datapath.base import Datapath
from vxnet.datapath.pure import DatapathSettings, PureDatapath
from vxnet.errors import ConfigError
from vxnet.wire.addr import Vtep

__all__ = ["CHOICES", "Choice", "DatapathSettings", "choose"]

CHOICES = ("auto", "native", "pure")

_NOT_BUILT = "the native module was not built"


class Choice(NamedTuple):
    """Which datapath runs, and why: a sentence for `vxnet status`."""

    name: str
    reason: str
    make: Callable[[Vtep, DatapathSettings], Datapath]


def choose(wanted: str = "auto") -> Choice:
    """Find the datapath for what the configuration says: one of CHOICES.

    Raises ConfigError where it names one that is not there.
    """
    if wanted not in CHOICES:
        raise ConfigError(f"datapath {wanted!r} is unknown; it is one of {', '.join(CHOICES)}")
    if wanted == "native":
        raise ConfigError(
            f'datapath "native" was asked for, but {_NOT_BUILT}; '
            'install vxnet where a Rust toolchain is, or set [node] datapath = "auto"'
        )
    reason = "the configuration asks for it" if wanted == "pure" else _NOT_BUILT
    return Choice("pure", reason, _make_pure)


def _make_pure(local: Vtep, settings: DatapathSettings) -> Datapath:
    return PureDatapath(local, settings=settings)
