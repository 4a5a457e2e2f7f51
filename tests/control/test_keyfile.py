"""The key file: made for root alone, replaced at once, and refused with a sentence."""

from pathlib import Path

import pytest

from vxnet.control.keyfile import format_key, generate_key, parse_key, read_keys, write_keys
from vxnet.errors import ConfigError, HostError, WireError


def test_what_is_written_is_read_and_only_its_owner_may(tmp_path: Path) -> None:
    keys = (generate_key(), generate_key())
    write_keys(tmp_path / "gossip.key", keys)
    assert read_keys(tmp_path / "gossip.key") == keys
    assert (tmp_path / "gossip.key").stat().st_mode & 0o777 == 0o600


def test_comments_and_empty_lines_are_for_people(tmp_path: Path) -> None:
    key = generate_key()
    file = tmp_path / "gossip.key"
    file.write_text(f"# of the lab\n\n{format_key(key)}\n")
    file.chmod(0o640)
    assert read_keys(file) == (key,)


@pytest.mark.parametrize("text", ["", "00" * 31, "00" * 33, "zz" * 32, "\u00e9" * 64])
def test_a_key_that_is_none_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(WireError, match="64 hexadecimal digits") as refusal:
        parse_key(text)
    assert not text or text not in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "mode", "sentence"),
    [
        (b"", 0o600, "holds no key"),
        (b"secret\n", 0o600, "64 hexadecimal digits"),
        (b"\xff\xfe", 0o600, "cannot be read"),
        (b"00" * 32, 0o644, "chmod 600"),
    ],
)
def test_a_file_that_is_wrong_is_told_with_its_mend(
    tmp_path: Path, content: bytes, mode: int, sentence: str
) -> None:
    file = tmp_path / "gossip.key"
    file.write_bytes(content)
    file.chmod(mode)
    with pytest.raises(ConfigError, match=sentence) as refusal:
        read_keys(file)
    assert str(file) in str(refusal.value)
    assert "secret" not in str(refusal.value)


def test_a_file_that_is_not_there_or_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_keys(tmp_path / "none")
    with pytest.raises(HostError, match="cannot be written"):
        write_keys(tmp_path / "no" / "folder", [generate_key()])
