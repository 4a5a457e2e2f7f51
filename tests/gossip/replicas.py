"""An owner's stream and copies of it, for tests of the rules that keep them equal."""

from vxnet.gossip.rules import ALL_RULES, Rule
from vxnet.gossip.stream import Stream
from vxnet.wire.rows import Row

__all__ = ["ENTRY", "Owner", "rows_of"]

ENTRY = 1


class Owner(Stream):
    """An owner whose rows are single octets: "a" is a row, what it holds is a number."""

    def __init__(self, epoch: int = 1, att: int = 1) -> None:
        super().__init__(7, epoch, 9, att)

    def set(self, key: str, body: int = 0) -> Row:
        """A row as the owner has it from now on."""
        return self.publish(ENTRY, key.encode(), bytes((body,)))

    def delete(self, key: str) -> Row:
        """A row that the owner no longer has."""
        return self.publish(ENTRY, key.encode(), None)

    def forget(self) -> None:
        """All tombstones are collected."""
        self.collect(self.ver)

    def copy(self, rules: Rule = ALL_RULES) -> Stream:
        """A replica that knows nothing yet."""
        return Stream(self.owner, self.epoch, self.scope, self.att, rules)

    def push_to(self, replica: Stream, *rows: Row) -> None:
        """Rows arrive as they came about."""
        replica.push(self.head(), rows)

    def pull_from(self, replica: Stream, start: int | None = None, cut: int | None = None) -> None:
        """A replica gets what came after its watermark, perhaps cut short."""
        start = replica.watermark if start is None else start
        if self.needs_snapshot(start):
            replica.snapshot(self.head(), self.watermark, self.whole())
            return
        rows = self.since(start)
        part = rows if cut is None else rows[:cut]
        replica.delta(self.head(), start, self.watermark, len(part) == len(rows), part)


def rows_of(stream: Stream) -> dict[str, int]:
    """What a stream holds, as a test writes it."""
    return {row.key.decode(): row.body[0] for row in stream.live() if row.body is not None}
