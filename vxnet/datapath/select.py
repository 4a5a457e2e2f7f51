"""The one chooser between the two datapaths; nothing else knows that there are two."""

from importlib.util import find_spec

from vxnet.datapath.base import Datapath, DatapathSettings
from vxnet.errors import ConfigError
from vxnet.wire.addr import Vtep

__all__ = ["CHOICES", "select"]

CHOICES = ("auto", "native", "pure")

_REASONS = {
    "auto": "it was built, and is the faster one",
    "native": "the configuration asks for it",
    "pure": "the configuration asks for it",
}
_NOT_BUILT = "the native module was not built"


def select(
    wanted: str, local: Vtep, settings: DatapathSettings | None = None
) -> tuple[Datapath, str]:
    """The datapath for what the configuration says (one of CHOICES), and why it is that one.

    Raises ConfigError where the configuration names one that is not there.
    """
    if wanted not in CHOICES:
        raise ConfigError(f"datapath {wanted!r} is unknown; it is one of {', '.join(CHOICES)}")
    # Only the chosen one is loaded; the other's modules would lie in memory for nothing.
    if wanted != "pure" and find_spec("vxnet._native") is not None:
        from vxnet.datapath.native import NativeDatapath

        return NativeDatapath(local, settings=settings), f"native: {_REASONS[wanted]}"
    if wanted == "native":
        raise ConfigError(
            f'datapath "native" was asked for, but {_NOT_BUILT}; '
            'install vxnet where a Rust toolchain is, or set [node] datapath = "auto"'
        )
    from vxnet.datapath.pure import PureDatapath

    reason = _REASONS[wanted] if wanted == "pure" else _NOT_BUILT
    return PureDatapath(local, settings=settings), f"pure: {reason}"
