"""What can go wrong, told by whose fault it is.

One function at each edge of vxnet turns these into a reply, an exit status or a counter; everything
else lets them pass. The message is a whole sentence with the offending value in it, and where there
is one, the mend.
"""

import msgspec

__all__ = ["UNREADABLE", "ConfigError", "HostError", "StateError", "VxnetError", "WireError"]

UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
"""All that msgspec raises for octets that hold no message: text that is no UTF-8, and what is
nested without end, are none of its own errors."""


class VxnetError(Exception):
    """Anything vxnet reports on purpose; its text is fit to be shown to a person."""


class WireError(VxnetError):
    """Bytes from the network do not say what they should: the sender's fault."""


class ConfigError(VxnetError):
    """A setting is wrong: the operator's to mend. Holds one problem a line."""


class StateError(VxnetError):
    """A request does not fit what exists (a name taken, an unknown network): the caller's fault."""


class HostError(VxnetError):
    """The operating system refused (no permission, no such device, a port in use)."""
