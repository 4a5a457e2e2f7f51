"""The gossip keys on disk: a line each, the one that seals first, for root's eyes only."""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vxnet.errors import ConfigError, HostError, WireError
from vxnet.gossip.security import KEY_BYTES

__all__ = ["format_key", "generate_key", "parse_key", "read_keys", "write_keys"]

MODE: Final = 0o600
MAKE_ONE: Final = "make one with: vxnet keys generate"


def generate_key() -> bytes:
    """A new key of 32 octets from the system's random numbers."""
    return secrets.token_bytes(KEY_BYTES)


def parse_key(text: str) -> bytes:
    """Read 64 hexadecimal digits. Raises WireError for anything else, without repeating it."""
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise WireError(f"a gossip key is {2 * KEY_BYTES} hexadecimal digits; {MAKE_ONE}")
    return key


def format_key(key: bytes) -> str:
    """The key as the file has it."""
    return key.hex()


def read_keys(path: Path) -> tuple[bytes, ...]:
    """The keys of a file, the one to seal with first. Raises ConfigError."""
    try:
        if path.stat().st_mode & 0o007:
            raise ConfigError(f"{path} may be read by everybody; mend it with: chmod 600 {path}")
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"gossip.key_file {path} cannot be read: {error}") from None
    lines = [line.strip() for line in text.splitlines()]
    try:
        keys = tuple(parse_key(line) for line in lines if line and not line.startswith("#"))
    except WireError as error:
        raise ConfigError(f"gossip.key_file {path}: {error}") from None
    if not keys:
        raise ConfigError(f"gossip.key_file {path} holds no key; {MAKE_ONE}")
    return keys


def write_keys(path: Path, keys: Sequence[bytes]) -> None:
    """Replace the file at once: a reader finds the old keys or the new ones. Raises HostError."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
        with os.fdopen(fd, "w", encoding="ascii") as file:
            file.write("".join(f"{format_key(key)}\n" for key in keys))
            file.flush()
            os.fsync(fd)
        fresh.replace(path)
    except OSError as error:
        raise HostError(f"gossip.key_file {path} cannot be written: {error.strerror}") from None
