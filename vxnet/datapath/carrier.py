"""Settled flows of services: the engine carries their packets, and the switch is asked no more.

The switch tells which flows changed; the engine is told of all, so that it knows which packets of a
member belong to none. What it saw of a flow is asked for where the switch has to know.
"""

import time
from collections.abc import Sequence
from struct import Struct

from vxnet._native import Flows as Engine
from vxnet.switch.flows import IDLE_S, Flow, Flows, FlowState, Seen

__all__ = ["Carrier"]

# Number, VNI, protocol, flags, seconds it may be silent while it is open and when it is closing;
# the MACs of client, service and member, their ports and their addresses.
_ROW = Struct("=IIBBHH6s6s6sHHH16s16s16s")
_GONE, _HELD, _IPV6, _OWN, _FRESH = 1, 2, 4, 8, 16
_NOTHING = bytes(_ROW.size - 10)
_GONE_ROW = Struct(f"=IIBB{len(_NOTHING)}s")


class Carrier:
    """Keeps the engine's flows like the switch's."""

    def __init__(self, flows: Flows) -> None:
        self._flows = flows
        self._engine: Engine | None = None
        flows.watch(self._seen)

    def begin(self, engine: Engine) -> None:
        """Have an engine carry what is settled."""
        self._engine = engine

    def end(self) -> None:
        """It does so no longer."""
        self._engine = None

    def follow(self) -> None:
        """Tell the engine what changed."""
        if self._engine is None:
            return
        changes = self._flows.changes()
        if changes:
            rows = [
                _GONE_ROW.pack(number, 0, 0, _GONE, _NOTHING) if flow is None else _row(flow)
                for number, flow in changes.items()
            ]
            self._engine.program(b"".join(rows))

    def _seen(self, numbers: Sequence[int]) -> list[Seen | None]:
        if self._engine is None:
            return [None] * len(numbers)
        now = time.monotonic()
        return [
            None if row is None else Seen(now - row[0], row[1], row[2], row[3])
            for row in self._engine.seen(numbers)
        ]


def _row(flow: Flow) -> bytes:
    key, there, back = flow.key, flow.there, flow.back
    if flow.is_settled:
        flags = 0
    elif flow.state is FlowState.YOUNG and not flow.is_tried:
        flags = _FRESH  # the answer that takes it needs no decision
    else:
        flags = _HELD
    if len(key.source) > 4:
        flags |= _IPV6
    if there.source_mac == back.source_mac:
        flags |= _OWN  # a member that asks itself sees the service
    return _ROW.pack(
        flow.number,
        key.vni,
        key.protocol,
        flags,
        int(IDLE_S[key.protocol, FlowState.SETTLED]),
        int(IDLE_S[key.protocol, FlowState.CLOSING]),
        back.destination_mac,
        back.source_mac,
        there.destination_mac,
        key.source_port,
        key.destination_port,
        there.destination_port,
        key.source,
        key.destination,
        there.destination,
    )
