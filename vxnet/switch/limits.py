"""How much hosts may make the switch do, and for how long it believes them."""

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on everything that frames can bring about."""

    # learning
    ageing_s: float = 300.0
    keep_s: float = 10.0  # a station heard from within this time makes no room for a new one
    learned_max: int = 65_536  # in one network
    learned_per_port_max: int = 1_024
    learned_per_peer_max: int = 16_384
    ips_per_station_max: int = 8

    # telling
    events_max: int = 4_096  # waiting to be told
    news_per_s: float = 100.0  # of one port, once its burst is spent
    news_burst: float = 1_000.0
    strangers_per_s: float = 10.0  # VTEPs that are no peers, of one network

    # flooding: broadcast, unknown and multicast frames; a super-frame counts as many
    flooded_per_port_per_s: float = 5_000.0
    flooded_per_port_burst: float = 10_000.0
    flooded_per_peer_per_s: float = 20_000.0
    flooded_per_peer_burst: float = 40_000.0

    # groups
    member_s: float = 260.0  # RFC 3376 §8.4: two queries unanswered and one answer's time
    querier_s: float = 255.0  # RFC 3376 §8.5
    leaving_s: float = 2.0  # RFC 3376 §8.9: others of the group have this long to speak up
    groups_per_place_max: int = 1_024

    # loops: a station seen behind one port and another, so often in so short a time
    flaps_max: int = 5
    flaps_within_s: float = 10.0
    blocked_s: float = 60.0  # then the port gets another chance

    # an address that two claim: RFC 9161 §3.7's M and N, for those who only say so themselves
    claims_max: int = 5
    claims_within_s: float = 180.0
    contended_max: int = 1_024  # addresses watched in one network
