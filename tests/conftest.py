"""What holds for every test: nothing vxnet does on the event loop may block it."""

from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster
from hypothesis import HealthCheck, settings

from tests.helpers.recording import Recorder

# No test depends on absolute speed, so neither does a property. On CI hypothesis's own profile for
# it, which repeats its examples, stays the base.
settings.register_profile(
    "patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")

WAITS = ("time.", "socket.", "os.read", "os.write", "builtins.input")
"""The calls that wait for somebody else. Files may be touched on the loop: at start, and rarely."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with those that wait longest, so that short ones fill the end of a parallel run."""
    items.sort(key=lambda item: item.get_closest_marker("netns") is None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record-conformance",
        action="store_true",
        help="keep what became of the tests marked `conformance`, for docs/conformance.md",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--record-conformance") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder())


@pytest.fixture(autouse=True)
def _blocking_calls_fail() -> Iterator[None]:
    """Make a call from vxnet that would block the event loop fail the test it happens in."""
    watched = [
        function
        for name, function in BlockBuster(
            # The demo is plain, synchronous code: the only loop in it hides in pyroute2's calls.
            "vxnet",
            excluded_modules=["vxnet.demo"],
        ).functions.items()
        if name.startswith(WAITS)
    ]
    for function in watched:
        function.activate()
    yield
    for function in watched:
        function.deactivate()
