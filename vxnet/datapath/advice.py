"""Telling the senders of frames that were too big what fits, now and then."""

from vxnet.switch.actions import PortId
from vxnet.switch.bucket import TokenBucket
from vxnet.wire import too_big
from vxnet.wire.ethernet import Buffer

__all__ = ["Adviser"]

_PER_S, _BURST = 10.0, 100.0  # of one port


class Adviser:
    """Writes the answers, as many as a port is due."""

    def __init__(self) -> None:
        self._buckets: dict[PortId, TokenBucket] = {}

    def advise(self, port_id: PortId, frame: Buffer, mtu: int, now: float) -> bytes | None:
        """The frame to answer with, if there is to be an answer."""
        bucket = self._buckets.get(port_id)
        if bucket is None:
            bucket = self._buckets[port_id] = TokenBucket(_PER_S, _BURST)
        return too_big.answer(frame, mtu) if bucket.take(now) else None

    def forget(self, port_id: PortId) -> None:
        """A port is gone."""
        self._buckets.pop(port_id, None)
