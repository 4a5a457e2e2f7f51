"""How a benchmark that is a program of its own ends."""

import sys
from collections.abc import Callable

from vxnet.errors import VxnetError

__all__ = ["script"]


def script(main: Callable[[], int]) -> None:
    """Exit as `main` says; what went wrong is one sentence, and status 1."""
    try:
        sys.exit(main())
    except VxnetError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
