"""Settings: what is right is read, and everything that is wrong is named at once."""

from pathlib import Path

import pytest

from vxnet.config import Settings, differences, load, parse, parse_host_port
from vxnet.errors import ConfigError

MINIMAL = '[node]\nname = "host-a"\nvtep = "192.0.2.1"\n'


def problems(text: str) -> list[str]:
    """What is said of a file, a problem each."""
    with pytest.raises(ConfigError) as raised:
        parse(text, "x.toml")
    lines = str(raised.value).splitlines()
    assert all(line.startswith("x.toml: ") for line in lines)
    return [line.removeprefix("x.toml: ") for line in lines]


def with_section(text: str) -> str:
    return MINIMAL + text


def test_name_and_vtep_are_enough() -> None:
    settings = parse(MINIMAL)
    assert settings.node.socket == "/run/vxnet/vxnet.sock"
    assert settings.node.datapath == "auto"
    assert settings.vxlan.port == 4789
    assert settings.gossip.port == 7947
    assert settings.gossip.seeds == ()
    assert settings.network == ()


def test_every_key_is_read() -> None:
    settings = parse("""
[node]
name = "host-a"
vtep = "2001:db8::1"
state_dir = "/tmp/state"
socket = "/tmp/sock"
datapath = "pure"
mtu = 9000
[vxlan]
port = 14789
gso_max_bytes = 64000
[gossip]
port = 17947
cluster = "lab"
seeds = ["192.0.2.2", "b.example:7000", "[2001:db8::2]:7947", "2001:db8::3"]
key_file = "/etc/key"
profile = "wan"
[docker]
enabled = true
[metrics]
listen = "127.0.0.1:9471"
[log]
level = "debug"
format = "json"
[[network]]
name = "blue"
vni = 0
subnets = ["10.9.0.0/24", "fd09::/64"]
mtu = 1400
[[network.peers]]
vtep = "[2001:db8::9]:8472"
learning = false
""")
    assert settings.node.mtu == 9000
    assert settings.gossip.profile == "wan"
    assert len(settings.gossip.seeds) == 4
    assert settings.docker.enabled
    assert settings.network[0].peers[0].learning is False


def test_every_problem_is_named_at_once() -> None:
    found = problems("""
[node]
nam = "host-a"
vtep = "192.0.2.999"
[vxlan]
port = 70000
[gosip]
port = 1
""")
    assert len(found) == 5
    assert "gosip: no such setting; did you mean gossip?" in found
    assert "node.nam: no such setting; did you mean name?" in found
    assert any(p.startswith("node.name: missing; it must be 1 to 64 letters") for p in found)
    assert any(p.startswith('node.vtep = "192.0.2.999": must be an IPv4 or IPv6') for p in found)
    assert "vxlan.port = 70000: must be a UDP port from 1 to 65535" in found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "node.name: missing; it must be 1 to 64 letters"),
        ("node = 3", "node = 3: must be a table, [node]"),
        ("[node", "this is not TOML"),
        (with_section("mtu = 100"), "node.mtu = 100: must be an MTU from 576 to 65535 octets"),
        (with_section('mtu = "big"'), 'node.mtu = "big": must be an MTU'),
        (with_section('socket = "here"'), 'node.socket = "here": must be an absolute path'),
        (with_section("state_dir = 7"), "node.state_dir = 7: must be an absolute path"),
        (with_section('datapath = "fast"'), 'must be "auto", "native" or "pure"'),
        (with_section("[vxlan]\nport = 0"), "vxlan.port = 0: must be a UDP port"),
        (with_section("[vxlan]\nport = true"), "vxlan.port = true: must be a UDP port"),
        (with_section("[vxlan]\ngso_max_bytes = 10"), "must be a number of octets from 2048"),
        (with_section('[gossip]\nseeds = "b"'), 'gossip.seeds = "b": must be a list of hosts'),
        (with_section('[gossip]\nseeds = ["b:x"]'), 'gossip.seeds[0] = "b:x": must be a host'),
        (with_section('[gossip]\nseeds = ["1.2.3"]'), 'gossip.seeds[0] = "1.2.3": must be a host'),
        (with_section('[gossip]\nkey_file = "k"'), 'must be an absolute path, or "" for none'),
        (with_section('[gossip]\nprofile = "man"'), 'must be "lan" or "wan"'),
        (with_section('[gossip]\ncluster = ""'), 'gossip.cluster = "": must be 1 to 64 letters'),
        (with_section("[gossip]\nport = 4789"), "vxlan.port is the same; choose another"),
        (with_section("[docker]\nenabled = 1"), "docker.enabled = 1: must be true or false"),
        (with_section('[metrics]\nlisten = "9471"'), "must be an address with a port"),
        (with_section('[log]\nlevel = "loud"'), 'log.level = "loud": must be "debug", "info"'),
        (with_section("network = 1"), "no such setting"),
        (with_section('[[network]]\nname = "x"'), "network[0].vni: missing; it must be a VNI"),
        (with_section('[[network]]\nname = "x"\nvni = -1'), "network[0].vni = -1: must be a VNI"),
        (
            with_section('[[network]]\nname = "x"\nvni = 1\nsubnets = ["10.0.0.1/8"]'),
            "must be a subnet without host bits",
        ),
        (
            with_section('[[network]]\nname = "x"\nvni = 1\n[[network.peers]]\nvtep = "b"'),
            'network[0].peers[0].vtep = "b": must be an address with or without a port',
        ),
        (
            with_section('[[network]]\nname = "x"\nvni = 1\n[[network.peers]]\nvtep = "fd00::1"'),
            "node.vtep is IPv4; outer packets need one version",
        ),
        (
            with_section('[[network]]\nname = "x"\nvni = 1\n[[network]]\nname = "x"\nvni = 2'),
            "an earlier network has this name",
        ),
        (
            with_section('[[network]]\nname = "x"\nvni = 1\n[[network]]\nname = "y"\nvni = 1'),
            "network x has this VNI",
        ),
        (MINIMAL.replace("192.0.2.1", "0.0.0.0"), "must be an address of this host"),
        (MINIMAL.replace("192.0.2.1", "ff02::1"), "must be an address of this host"),
        (MINIMAL.replace("host-a", "a b"), 'node.name = "a b": must be 1 to 64 letters'),
    ],
)
def test_each_problem_is_a_sentence_with_its_key_value_and_mend(text: str, problem: str) -> None:
    found = problems(text)
    assert any(problem in line for line in found), found


def test_long_values_are_shown_shortened() -> None:
    (problem,) = problems(MINIMAL.replace("host-a", "x" * 500))
    assert len(problem) < 200


def test_a_missing_file_is_a_sentence_with_its_mend(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not exist; write one with \[node\] name"):
        load(tmp_path / "none.toml")


def test_a_file_that_is_no_text_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "binary.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(file)


def test_differences_name_the_keys() -> None:
    old = parse(MINIMAL)
    new = parse(MINIMAL + '[gossip]\nseeds = ["b"]\nport = 1\n[[network]]\nname = "x"\nvni = 1\n')
    assert set(differences(old, new)) == {"gossip.seeds", "gossip.port", "network"}
    assert list(differences(old, parse(MINIMAL))) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", ("192.0.2.1", 7)),
        ("192.0.2.1:80", ("192.0.2.1", 80)),
        ("2001:db8::1", ("2001:db8::1", 7)),
        ("[2001:db8::1]", ("2001:db8::1", 7)),
        ("[2001:db8::1]:80", ("2001:db8::1", 80)),
        ("b.example.:80", ("b.example.", 80)),
    ],
)
def test_hosts_and_ports_are_told_apart(text: str, expected: tuple[str, int]) -> None:
    assert parse_host_port(text, 7) == expected


@pytest.mark.parametrize(
    "text", ["", ":80", "a:", "a:0", "a:65536", "a:-1", "a:٣", "[::1", "[::1]x", "a b", "1.2.3.4.5"]
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_host_port(text, 7)


def test_settings_cannot_be_changed() -> None:
    settings: Settings = parse(MINIMAL)
    with pytest.raises(AttributeError):
        settings.node.name = "other"  # type: ignore[misc]
