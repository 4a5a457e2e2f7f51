"""Serf: membership, failure detection and events, on the library that Consul and Nomad use too.

What it says in its log is what it knows at that moment; its event handlers would hear of members
up to four seconds later, because it coalesces them.
"""

import base64
import re
import socket
from collections.abc import Sequence

import msgspec

from benchmarks.clusters.base import KEY, READY, Agent
from benchmarks.clusters.ears import Kind, Saying
from benchmarks.install import apt_get, lacking

__all__ = ["SerfAgent"]

PORT = 7946
RPC_PORT = 7373
RPC_TIMEOUT_S = 10.0

LINE = re.compile(
    r"\[INFO\] (?:serf: EventMember(?P<member>Join|Failed|Leave): (?P<name>\S+)"
    r"|agent: Received event: user-event: (?P<event>\S+))"
)


class SerfAgent(Agent):
    """Debian's Serf with its own settings for a LAN, told what to do over its RPC."""

    make = "serf"
    title = "Serf"
    _rpc: socket.socket | None = None

    @staticmethod
    def install() -> None:
        """Debian's."""
        apt_get("serf")

    @staticmethod
    def missing() -> str | None:
        """Whether the program is there."""
        return lacking("serf")

    @staticmethod
    def understand(line: str) -> Saying | None:
        """Members as it sees them come and go, and events when they are passed on."""
        if line == "==> Serf agent running!":
            return Saying(Kind.HEARD, READY)
        found = LINE.search(line)
        if found is None:
            return None
        if found["event"]:
            return Saying(Kind.HEARD, found["event"])
        return Saying(Kind.UP if found["member"] == "Join" else Kind.DOWN, found["name"])

    def command(self) -> Sequence[str]:
        """With the same encryption as the others."""
        return [
            "serf",
            "agent",
            f"-node={self.name}",
            f"-bind={self.address}:{PORT}",
            f"-rpc-addr={self.address}:{RPC_PORT}",
            f"-encrypt={base64.b64encode(KEY).decode()}",
        ]

    def join(self, seed: str) -> None:
        """Without a replay of old events, as `serf join` does."""
        self._ask("join", {"Existing": [f"{seed}:{PORT}"], "Replay": False})

    def tell(self, number: int) -> str:
        """A user event of its own name."""
        event = f"news-{number}"
        self._ask("event", {"Name": event, "Payload": "", "Coalesce": False})
        return event

    def _ask(self, command: str, body: dict[str, object]) -> None:
        """Send a request and go on: its answers are of no interest, and few enough to stay unread.

        Each is two MessagePack objects, a header and a body.
        """
        encode = msgspec.msgpack.encode
        if self._rpc is None:
            self._rpc = self.host.inside(
                lambda: socket.create_connection((self.address, RPC_PORT), RPC_TIMEOUT_S)
            )
            self._rpc.sendall(encode({"Command": "handshake", "Seq": 0}) + encode({"Version": 1}))
        self._rpc.sendall(encode({"Command": command, "Seq": 1}) + encode(body))
