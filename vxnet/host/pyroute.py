"""pyroute2's netlink socket, without the rest of pyroute2.

Importing any of its modules first runs the package's `__init__`, which imports all the others: a
database, an HTTP server, 9P, wireless. That costs each daemon 6 MB and half a second. A package
that is known but was never run finds its submodules just as well.
"""

import sys
from importlib.util import find_spec, module_from_spec

if "pyroute2" not in sys.modules:
    _package = find_spec("pyroute2")
    if _package is not None:  # otherwise the next line says that it is not installed
        sys.modules["pyroute2"] = module_from_spec(_package)

from pyroute2.iproute.linux import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

__all__ = ["IPRoute", "NetlinkError"]
