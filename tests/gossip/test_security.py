"""What a node seals only a holder of the key opens, once, and nothing else opens at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vxnet.errors import StateError, WireError
from vxnet.gossip.security import (
    KEYS_MAX,
    SEALED,
    WINDOW,
    Keyring,
    Security,
    Window,
    key_id,
)
from vxnet.wire.gossip import HEADER_BYTES, TAG_BYTES, Header, decode_header, encode_header

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
BODY = b"\x91\x92\x01\x02"


def security(
    node: int = 1,
    *keys: bytes,
    cluster: str = "blue",
    boot: int = 5,
    aes: bool = True,
) -> Security:
    return Security(cluster, node, boot, Keyring(keys) if keys else None, aes=aes)


PAIRS = {
    "AES-256-GCM": (security(1, KEY), security(2, KEY)),
    "ChaCha20-Poly1305": (security(1, KEY, aes=False), security(2, KEY)),
    "in clear": (security(1), security(2)),
}
either = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)


# ── sealing and opening ───────────────────────────────────────────────────────────────────────


@either
@given(body=st.binary(max_size=1156))
def test_what_is_sealed_is_opened(pair: tuple[Security, Security], body: bytes) -> None:
    sender, receiver = pair
    packet = sender.seal(body)
    assert len(packet) == HEADER_BYTES + len(body) + TAG_BYTES
    header, opened = receiver.open(packet)
    assert opened == body
    assert (header.node_id, header.boot) == (1, 5)
    assert receiver.fresh(header)


@either
def test_any_octet_changed_is_refused(pair: tuple[Security, Security]) -> None:
    sender, receiver = pair
    packet = sender.seal(BODY)
    for at in range(len(packet)):
        for bit in range(8):
            damaged = bytearray(packet)
            damaged[at] ^= 1 << bit
            with pytest.raises(WireError):
                receiver.open(bytes(damaged))


@either
def test_any_packet_cut_short_or_made_longer_is_refused(pair: tuple[Security, Security]) -> None:
    sender, receiver = pair
    packet = sender.seal(BODY)
    for size in range(len(packet)):
        with pytest.raises(WireError):
            receiver.open(packet[:size])
    with pytest.raises(WireError):
        receiver.open(packet + b"\0")


@given(st.binary(max_size=200))
def test_any_octets_are_refused(data: bytes) -> None:
    header = encode_header(Header(1, int.from_bytes(key_id(KEY), "big"), 1, 5, 1))
    for receiver in (security(2, KEY), security(2)):
        for octets in (data, header + data):
            with pytest.raises(WireError):
                receiver.open(octets)


@pytest.mark.parametrize(
    ("sender", "receiver", "why"),
    [
        (security(1, KEY), security(2, OTHER), "not installed"),
        (security(1, KEY), security(2), "no gossip key"),
        (security(1), security(2, KEY), "in clear"),
        (security(1, KEY), security(2, KEY, cluster="green"), "does not open"),
        (security(1), security(2, cluster="green"), "another cluster"),
    ],
)
def test_other_keys_other_clusters_and_none_are_refused_by_name(
    sender: Security, receiver: Security, why: str
) -> None:
    with pytest.raises(WireError, match=why):
        receiver.open(sender.seal(BODY))


def test_a_sealed_packet_says_nothing_in_clear_but_its_header() -> None:
    packet = security(1, KEY).seal(b"a secret of the cluster")
    assert b"secret" not in packet
    assert decode_header(packet).flags == SEALED


# ── keys of senders ───────────────────────────────────────────────────────────────────────────


def test_each_sender_and_each_of_its_lives_has_a_key_of_its_own() -> None:
    bodies = {
        security(node, KEY, boot=boot, cluster=cluster, aes=aes).seal(bytes(32))[HEADER_BYTES:]
        for node in (1, 2)
        for boot in (5, 6)
        for cluster in ("blue", "green")
        for aes in (True, False)
    }
    assert len(bodies) == 16


@pytest.mark.parametrize("field", ["node_id", "boot", "counter", "flags"])
def test_nobody_can_speak_for_another_sender(field: str) -> None:
    packet = security(1, KEY).seal(BODY)
    header = decode_header(packet)
    forged = header._replace(**{field: getattr(header, field) ^ 2})
    with pytest.raises(WireError):
        security(2, KEY).open(encode_header(forged) + packet[HEADER_BYTES:])


def test_a_counter_never_comes_twice_and_does_not_wrap() -> None:
    sender = security(1, KEY)
    counters = [decode_header(sender.seal(BODY)).counter for _ in range(100)]
    assert len(set(counters)) == 100
    sender._counter = 2**48 - 2
    assert decode_header(sender.seal(BODY)).counter == 2**48 - 1
    with pytest.raises(StateError, match="restart"):
        sender.seal(BODY)


def test_forged_packets_push_no_senders_key_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vxnet.gossip.security.SENDERS_MAX", 10)
    receiver = security(2, KEY)
    receiver.open(security(1, KEY).seal(BODY))
    kid = int.from_bytes(key_id(KEY), "big")
    for node in range(100, 200):
        with pytest.raises(WireError):
            receiver.open(encode_header(Header(1, kid, node, 5, 1)) + bytes(40))
    assert len(receiver._ciphers) == 2  # its own and that of the one it heard


def test_keys_and_windows_are_kept_of_so_many_senders_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vxnet.gossip.security.SENDERS_MAX", 10)
    receiver = security(2, KEY)
    for node in range(100, 150):
        header, _ = receiver.open(security(node, KEY).seal(BODY))
        assert receiver.fresh(header)
    assert len(receiver._ciphers) == len(receiver._windows) == 10


def test_a_sender_that_starts_again_and_again_takes_one_place_among_the_keys() -> None:
    receiver = security(2, KEY)
    first = security(1, KEY, boot=5)
    for boot in range(5, 50):
        receiver.open(security(1, KEY, boot=boot).seal(BODY))
    assert len(receiver._ciphers) == 2  # its own and the sender's
    header, body = receiver.open(first.seal(BODY))  # an earlier boot still is understood
    assert (header.boot, body) == (5, BODY)
    assert len(receiver._ciphers) == 2


def test_whoever_is_heard_goes_on_being_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vxnet.gossip.security.SENDERS_MAX", 10)
    receiver, speaker = security(2, KEY), security(1, KEY)
    first = speaker.seal(BODY)
    header, _ = receiver.open(first)
    assert receiver.fresh(header)
    for node in range(100, 150):
        receiver.fresh(receiver.open(security(node, KEY).seal(BODY))[0])
        assert receiver.fresh(receiver.open(speaker.seal(BODY))[0])
    assert not receiver.fresh(receiver.open(first)[0])


# ── the replay window ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("seen", "counter", "fresh"),
    [
        ([], 0, True),
        ([5], 5, False),
        ([5], 4, True),
        ([5, 4], 4, False),
        ([WINDOW + 5], 6, True),
        ([WINDOW + 5], 5, False),
        ([WINDOW + 5], 0, False),
        ([1, WINDOW], 1, False),
        ([1, WINDOW + 1], 1, False),
        ([1, 10 * WINDOW], 10 * WINDOW - 1, True),
        ([2**48 - 1], 2**48 - 1, False),
        ([0, 2**48 - 1], 2**48 - 2, True),
    ],
)
def test_a_window_knows_the_last_1024_counters(seen: list[int], counter: int, fresh: bool) -> None:
    window = Window()
    for one in seen:
        window.fresh(one)
    assert window.fresh(counter) is fresh


@given(st.lists(st.integers(0, 3000), max_size=200))
def test_no_counter_is_fresh_twice_and_none_within_the_window_is_lost(counters: list[int]) -> None:
    window, seen, top = Window(), set(), -1
    for counter in counters:
        expected = counter not in seen and counter > top - WINDOW
        assert window.fresh(counter) is expected
        seen.add(counter)
        top = max(top, counter)
        assert window.bits < 1 << WINDOW


def test_each_life_of_a_sender_has_a_window_of_its_own() -> None:
    receiver = security(2, KEY)
    for boot in (5, 6):
        header, _ = receiver.open(security(1, KEY, boot=boot).seal(BODY))
        assert receiver.fresh(header)
        assert not receiver.fresh(header)


def test_in_clear_a_replay_is_taken_for_nothing_would_be_gained() -> None:
    receiver = security(2)
    header, _ = receiver.open(security(1).seal(BODY))
    assert receiver.fresh(header)
    assert receiver.fresh(header)


# ── keyrings ──────────────────────────────────────────────────────────────────────────────────


def test_a_keyring_seals_with_the_first_and_opens_with_all() -> None:
    both = security(2, KEY, OTHER)
    assert decode_header(both.seal(BODY)).key_id == int.from_bytes(key_id(KEY), "big")
    for key in (KEY, OTHER):
        assert both.open(security(1, key).seal(BODY))[1] == BODY


def test_rotating_is_install_use_remove_and_never_deaf_on_the_way() -> None:
    one, two = security(1, KEY), security(2, KEY)

    def hear_each_other() -> bool:
        return all(
            receiver.open(sender.seal(BODY))[1] == BODY
            for sender, receiver in ((one, two), (two, one))
        )

    rings = [side.keyring for side in (one, two)]
    for verb, argument in (("install", OTHER), ("use", key_id(OTHER)), ("remove", key_id(KEY))):
        for ring in rings:
            getattr(ring, verb)(argument)
            assert hear_each_other()
    with pytest.raises(WireError, match="not installed"):
        one.open(security(3, KEY).seal(BODY))


def test_a_removed_key_opens_nothing_though_it_was_used_before() -> None:
    receiver, sender = security(2, OTHER, KEY), security(1, KEY)
    receiver.open(sender.seal(BODY))
    assert receiver.keyring is not None
    receiver.keyring.remove(key_id(KEY))
    with pytest.raises(WireError, match="not installed"):
        receiver.open(sender.seal(BODY))


@pytest.mark.parametrize(
    ("accepted", "best"),
    [
        ((), None),
        ((key_id(KEY),), None),
        ((key_id(OTHER), key_id(KEY)), None),
        ((key_id(OTHER),), key_id(OTHER)),
        ((b"none",), None),
    ],
)
def test_the_best_key_is_one_that_the_receiver_has(
    accepted: tuple[bytes, ...], best: bytes | None
) -> None:
    assert security(1, KEY, OTHER).best_key(accepted) == best
    assert security(1).best_key(accepted) is None


def test_a_packet_can_be_sealed_under_another_key_than_the_usual_one() -> None:
    sender = security(1, KEY, OTHER)
    assert security(2, OTHER).open(sender.seal(BODY, key_id(OTHER)))[1] == BODY
    assert security(2, KEY).open(sender.seal(BODY, b"none"))[1] == BODY


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_key_of_the_wrong_length_is_refused(size: int) -> None:
    with pytest.raises(StateError, match=f"32 octets, this one has {size}"):
        Keyring([bytes(size)])


def test_a_keyring_needs_a_key_and_takes_no_more_than_sixteen() -> None:
    with pytest.raises(StateError, match="at least one"):
        Keyring([])
    ring = Keyring(bytes([at]) * 32 for at in range(KEYS_MAX))
    with pytest.raises(StateError, match="16 keys are installed; remove one"):
        ring.install(OTHER)
    assert ring.install(bytes(32)) == key_id(bytes(32))  # it is there already
    assert len(ring.ids) == KEYS_MAX


def test_the_key_in_use_stays_and_unknown_ones_are_refused() -> None:
    ring = Keyring([KEY])
    for refused in (lambda: ring.remove(key_id(KEY)), lambda: ring.use(key_id(OTHER))):
        with pytest.raises(StateError, match="first"):
            refused()
    with pytest.raises(StateError, match="not installed"):
        ring.remove(key_id(OTHER))
    assert ring.ids == (key_id(KEY),)
    assert ring.keys == (KEY,)


def test_the_key_in_use_comes_first() -> None:
    ring = Keyring([KEY, OTHER])
    ring.use(key_id(OTHER))
    assert ring.ids == (key_id(OTHER), key_id(KEY))
    assert ring.keys == (OTHER, KEY)
    assert ring.primary == key_id(OTHER)


def test_a_keys_id_says_nothing_about_the_key() -> None:
    assert len(key_id(KEY)) == 4
    assert key_id(KEY) != key_id(OTHER)
    assert key_id(KEY) not in KEY
