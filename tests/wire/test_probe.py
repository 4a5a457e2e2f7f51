"""VXP/1: what hosts ask each other, as letters and in frames."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vxnet.errors import WireError
from vxnet.wire.addr import Mac
from vxnet.wire.probe import (
    FRAME_MIN,
    MARK_BYTES,
    Answer,
    Ask,
    Seen,
    Watch,
    decode,
    decode_frame,
    encode,
    encode_frame,
    mac_of,
)

SOURCE, TARGET = mac_of(1), mac_of(2)
TOKENS = st.integers(0, 2**64 - 1)
SIZES = st.integers(0, 2**16 - 1)
WORDS = st.text(max_size=128)
MARKS = st.binary(min_size=MARK_BYTES, max_size=MARK_BYTES)

IN_FRAMES = st.builds(Ask, TOKENS, SIZES) | st.builds(Answer, TOKENS, SIZES, TOKENS)
IN_LETTERS = st.builds(Watch, TOKENS, st.integers(0, 2**24), MARKS) | st.builds(
    Seen, TOKENS, WORDS, WORDS, WORDS, WORDS, TOKENS
)


@given(IN_FRAMES | IN_LETTERS)
def test_a_letter_says_what_was_said(message: Ask | Answer | Watch | Seen) -> None:
    assert decode(encode(message)) == message


@given(IN_FRAMES, st.integers(FRAME_MIN, 9000))
def test_a_frame_says_what_was_said_and_is_as_long_as_was_asked(
    message: Ask | Answer, size: int
) -> None:
    frame = encode_frame(message, SOURCE, TARGET, size)
    assert len(frame) == size
    assert decode_frame(frame) == (SOURCE, message)
    assert frame[:6] == TARGET


@given(st.binary(max_size=200) | IN_FRAMES.map(encode).map(lambda body: body[:-1]))
def test_nonsense_is_refused(data: bytes) -> None:
    for read in (decode, decode_frame):
        with pytest.raises(WireError):
            read(data)


@given(IN_LETTERS)
def test_what_asks_a_host_to_act_is_not_taken_from_a_frame(message: Watch | Seen) -> None:
    body = encode(message)
    frame = bytearray(encode_frame(Ask(1, 1), SOURCE, TARGET, 1200))
    frame[18:20] = len(body).to_bytes(2, "big")
    frame[20 : 20 + len(body)] = body
    with pytest.raises(WireError):
        decode_frame(bytes(frame))


def test_a_host_is_one_station_by_its_id() -> None:
    assert mac_of(2**64 - 1) == Mac(b"\x06" + b"\xff" * 5)
    assert mac_of(1) != mac_of(2)
    assert not mac_of(12345)[0] & 1
