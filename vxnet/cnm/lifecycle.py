"""An endpoint's life as one table: which verb leads where, and what a crash in between asks for."""

from enum import StrEnum
from typing import Final

from vxnet.cnm.model import EndpointState

__all__ = ["AFTER_CRASH", "TRANSITIONS", "Recovery", "Transition", "Verb", "transition"]


class Verb(StrEnum):
    """What can be asked of an endpoint that exists."""

    JOIN = "join"
    LEAVE = "leave"
    REMOVE = "remove"


Transition = tuple[EndpointState, EndpointState | None]
"""The state that is saved before anything is driven, and the one after; None: it is gone."""

TRANSITIONS: Final[dict[tuple[EndpointState, Verb], Transition]] = {
    (EndpointState.CREATED, Verb.JOIN): (EndpointState.JOINING, EndpointState.JOINED),
    (EndpointState.JOINED, Verb.LEAVE): (EndpointState.LEAVING, EndpointState.CREATED),
    (EndpointState.CREATED, Verb.REMOVE): (EndpointState.REMOVING, None),
    (EndpointState.JOINED, Verb.REMOVE): (EndpointState.REMOVING, None),
    # A verb that stopped half-way, for want of disk or permission, is finished by asking again.
    (EndpointState.LEAVING, Verb.LEAVE): (EndpointState.LEAVING, EndpointState.CREATED),
    (EndpointState.LEAVING, Verb.REMOVE): (EndpointState.REMOVING, None),
    (EndpointState.JOINING, Verb.LEAVE): (EndpointState.LEAVING, EndpointState.CREATED),
    (EndpointState.JOINING, Verb.REMOVE): (EndpointState.REMOVING, None),
    (EndpointState.CREATING, Verb.REMOVE): (EndpointState.REMOVING, None),
    (EndpointState.REMOVING, Verb.REMOVE): (EndpointState.REMOVING, None),
}


class Recovery(StrEnum):
    """What the next start does with an endpoint that was saved in some state."""

    DISCARD = "discard"  # nobody was told it exists, or somebody that it is gone
    UNJOIN = "unjoin"  # out of the sandbox, whatever of it is there already
    KEEP = "keep"  # it has no device until it joins
    ADOPT = "adopt"  # its device is in the sandbox, and goes on working


AFTER_CRASH: Final[dict[EndpointState, Recovery]] = {
    EndpointState.CREATING: Recovery.DISCARD,
    EndpointState.CREATED: Recovery.KEEP,
    EndpointState.JOINING: Recovery.UNJOIN,
    EndpointState.JOINED: Recovery.ADOPT,
    EndpointState.LEAVING: Recovery.UNJOIN,
    EndpointState.REMOVING: Recovery.DISCARD,
}


def transition(state: EndpointState, verb: Verb) -> Transition | None:
    """Where a verb leads from here; None where there is nothing to do, or no way."""
    return TRANSITIONS.get((state, verb))
