"""The rules that keep replicas equal, by name, so that a test can show what each is good for."""

from enum import Flag, auto

__all__ = ["ALL_RULES", "Rule"]


class Rule(Flag):
    """A set of rules. The daemon always runs with `ALL_RULES`; only tests take one away."""

    R1 = auto()  # a lower epoch or attachment is ignored, a higher one is a new, empty stream
    R2 = auto()  # a version at or below the watermark is ignored
    R3 = auto()  # a row pushed ahead is applied, but the watermark waits for those between
    R4 = auto()  # a delta cut short brings the watermark to its last row only
    R5 = auto()  # a replica below the floor gets a snapshot, not a delta
    R6 = auto()  # a snapshot takes away what it does not hold
    R7 = auto()  # a delta that begins above the watermark is dropped
    R8 = auto()  # a snapshot is staged and applied at once, or not at all


ALL_RULES = Rule.R1 | Rule.R2 | Rule.R3 | Rule.R4 | Rule.R5 | Rule.R6 | Rule.R7 | Rule.R8
