"""How the gossip behaves: times, sizes and bounds, each with its unit in its name."""

from dataclasses import dataclass, replace

__all__ = ["LAN", "WAN", "GossipSettings", "scaled"]


@dataclass(frozen=True, slots=True)
class GossipSettings:
    """The defaults are for hosts on one LAN; see `WAN` for the other profile."""

    # finding out who is gone: SWIM with Lifeguard
    probe_interval_s: float = 1.0
    probe_timeout_s: float = 0.5
    indirect_probes: int = 3
    suspicion_factor: float = (
        4.0  # times max(1, log10 N) times probe interval: the shortest suspicion
    )
    suspicion_max_factor: float = 6.0  # times the shortest: where nobody confirms
    confirmations: int = 3
    confirm_probes: float = 8.0  # how many members check a new suspicion at once, on average
    local_health_max: int = 8
    lifeguard: bool = True  # off only to show what it is good for
    # hearsay
    verify_per_s: float = 64.0
    verify_retry_s: float = 0.3
    unverified_s: float = 300.0  # hearsay that nobody could confirm is forgotten after this
    # telling others
    own_delay_s: float = 0.010
    relay_delay_min_s: float = 0.005
    relay_delay_max_s: float = 0.025
    gossip_interval_s: float = 0.2
    fanout: int = 3
    sends_base: int = 14
    sends_factor: float = 4.0  # times log10(N + 1), on top of the base
    quick_rounds: int = 2  # how often news is told before it waits for the interval
    budget_bytes_per_s: float = 64_000.0
    advert_above_rows: int = 128
    # comparing
    compare_interval_s: float = 10.0  # times (1 + log2(N / 32))
    descent_interval_s: float = 0.2  # at most one descent in this time
    answer_datagrams: int = 8  # more than this goes over TCP
    delta_max_bytes: int = 1040  # rows in one datagram
    part_max_bytes: int = 24_000  # rows in one message on TCP
    scrub_interval_s: float = 1.0  # one stream each time
    # at most so many rows are shown, hidden or recounted in one piece: some milliseconds
    slice_rows: int = 500
    # keeping
    tombstone_s: float = 60.0
    suspended_s: float = 1800.0  # how long a dead member's streams are kept
    record_s: float = 86_400.0  # how long it is remembered that a member was
    stale_s: float = 5.0  # how long rows of a former life stand in for the new ones
    epoch_ahead_max_s: float = 366 * 86_400.0
    # joining, healing, leaving
    hello_interval_s: float = 0.25  # doubles up to hello_interval_max_s while nobody answers
    hello_interval_max_s: float = 2.0
    silence_s: float = 5.0  # no seed answers for so long: tell the operator
    join_peers: int = 3
    heal_interval_s: float = 10.0
    heal_contacts: int = 3  # dead members looked for each time
    heal_returns: int = 8  # and as soon as one of them came back
    resolve_interval_s: float = 60.0
    leave_s: float = 1.0
    # stations that move
    moves_max: int = 5
    moves_window_s: float = 180.0
    frozen_s: float = 1800.0
    # bounds
    members_max: int = 8192
    unverified_max: int = 2048
    new_members_per_s: float = 64.0
    new_members_burst: float = 256.0
    vnis_max: int = 4096
    stream_rows_max: int = 65_536
    rows_max: int = 2_000_000
    queue_max: int = 8192
    streams_max: int = 16
    stream_header_s: float = 10.0
    stream_idle_s: float = 30.0
    stream_stall_s: float = 4.0  # a silent fetch gives way to another after this
    sender_packets_per_s: float = 500.0
    sender_bytes_per_s: float = 256_000.0
    sender_relays_per_s: float = 20.0  # members it has us ask
    stranger_packets_per_s: float = 20.0
    strangers_packets_per_s: float = 512.0  # all of them together


LAN = GossipSettings()

WAN = replace(
    LAN,
    probe_interval_s=5.0,
    probe_timeout_s=3.0,
    suspicion_factor=6.0,
    gossip_interval_s=0.5,
    fanout=4,
)


def scaled(settings: GossipSettings, factor: float) -> GossipSettings:
    """The same profile with its clocks faster (below 1) or slower, for tests and small beds."""
    return replace(
        settings,
        **{
            name: getattr(settings, name) * factor
            for name in (
                "probe_interval_s",
                "probe_timeout_s",
                "verify_retry_s",
                "gossip_interval_s",
                "compare_interval_s",
                "descent_interval_s",
                "hello_interval_s",
                "hello_interval_max_s",
                "heal_interval_s",
                "leave_s",
                "stale_s",
            )
        },
    )
