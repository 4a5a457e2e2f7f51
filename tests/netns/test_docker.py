"""Containers of two real dockerds, which know nothing of each other, on networks of vxnet."""

import json
from collections.abc import Iterator

import pytest

from tests.helpers.clusters import vxnet
from tests.helpers.docker import IMAGE, DockerHost, docker_hosts, dockers_filter, left_on
from vxnet.api.model import ServiceBody
from vxnet.demo.cluster import wait_for

pytestmark = [pytest.mark.netns, pytest.mark.timeout(400)]

VXNET = ("--driver", "vxnet", "--ipam-driver", "vxnet")


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[DockerHost]]:
    """Two hosts whose containers survive their dockerd."""
    with docker_hosts(2, engine=("--live-restore",)) as (_, places):
        yield places


@pytest.fixture(autouse=True)
def _nothing_is_left(hosts: list[DockerHost]) -> Iterator[None]:
    """What a test made with Docker goes with Docker, and takes everything of vxnet's along."""
    yield
    for host in hosts:
        host.remove_containers()
    for host in hosts:
        ours = host.docker("network", "ls", "--quiet", "--filter", "driver=vxnet").split()
        if ours:
            host.docker("network", "rm", *ours)
    for host in hosts:
        wait_for(lambda host=host: left_on(host) == [], 20.0, f"{host.host.label}: {left_on(host)}")


def network_on(hosts: list[DockerHost], name: str, *words: str) -> None:
    """The first host makes a network, and the others join it by its name alone."""
    first, *others = hosts
    first.docker("network", "create", *VXNET, *words, name)
    for host in hosts:
        wait_for(lambda host=host: name in names(host), 10.0, f"{host.host.label} knows {name}")
    for host in others:
        host.docker("network", "create", *VXNET, name)


def names(host: DockerHost) -> list[str]:
    return [network.name for network in host.networks()]


def get(host: DockerHost, address: str, port: int) -> str:
    """What is answered at a port, as asked from a host."""
    command = ["busybox", "timeout", "3", "busybox", "nc", address, str(port)]
    return host.host.run(command, check=False, input_text="").stdout


def serve(host: DockerHost, container: str) -> None:
    """Have a container say hello at port 80."""
    loop = "while :; do echo hello | nc -l -p 80; done"
    host.docker("exec", "--detach", container, "sh", "-c", loop)


def test_containers_of_two_engines_share_a_network_by_its_name(hosts: list[DockerHost]) -> None:
    one, two = hosts
    network_on(hosts, "blue", "--subnet", "10.9.0.0/24")
    one.container("web", "blue")
    two.container("db", "blue")
    web, db = one.address("web", "blue"), two.address("db", "blue")
    assert web != db
    assert one.pings("web", db)
    assert two.pings("db", web)
    two.docker("exec", "--detach", "db", "iperf3", "--server", "--one-off")
    done = one.inside("web", "iperf3", "--client", db, "--time", "2", "--json")
    assert json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"] > 1e6
    # The way out: the gateway of either host, and through it what is beyond.
    assert one.pings("web", "10.9.0.1")
    assert one.pings("web", two.vtep)
    assert two.pings("db", one.vtep)
    # The same model as the command line's.
    wait_for(lambda: "web" in vxnet(one, "endpoint", "ls").stdout, 40.0, "web has its name")
    [endpoint] = one.client.endpoints()
    assert endpoint.addresses == (f"{web}/24",)
    assert (endpoint.ifname, endpoint.state) == ("eth0", "joined")
    refusal = vxnet(one, "network", "rm", "blue").stderr
    assert "network blue is used by endpoint web" in refusal


def test_networks_whose_addresses_overlap_stay_apart(hosts: list[DockerHost]) -> None:
    for name in ("o1", "o2", "o3"):
        network_on(hosts, name, "--subnet", "10.5.0.0/24")
    one, two = hosts
    for name in ("o1", "o2", "o3"):
        one.container(f"c{name}", name, "--ip", "10.5.0.9")
        two.container(f"c{name}", name)
        assert two.pings(f"c{name}", "10.5.0.9")
        assert two.pings(f"c{name}", one.vtep)
    macs = {one.inside(f"c{n}", "cat", "/sys/class/net/eth0/address").stdout for n in ("o1", "o2")}
    assert len(macs) == 2


def test_what_docker_run_may_ask_for_is_given(hosts: list[DockerHost]) -> None:
    one, two = hosts
    words = ("--ipv6", "--subnet", "10.8.0.0/24", "--subnet", "fd00:8::/64")
    words += ("--ip-range", "10.8.0.64/26", "--aux-address", "router=10.8.0.65")
    network_on(hosts[:1], "red", *words, "--opt", "vni=77", "--opt", "mtu=1400")
    [view] = [n for n in one.networks() if n.name == "red"]
    assert (view.vni, view.mtu) == (77, 1400)
    one.container("any", "red")
    assert one.address("any", "red") in {f"10.8.0.{n}" for n in range(64, 128) if n != 65}
    mac = "02:00:00:00:00:99"
    fixed = ("--ip", "10.8.0.9", "--ip6", "fd00:8::99", "--mac-address", mac)
    one.container("fixed", "red", *fixed, "--publish", "8080:80", "--publish", "5300:53/udp")
    assert one.pings("any", "10.8.0.9")
    assert one.pings("any", "fd00:8::99")
    assert one.inside("fixed", "cat", "/sys/class/net/eth0/address").stdout.strip() == mac
    assert one.inside("fixed", "cat", "/sys/class/net/eth0/mtu").stdout.strip() == "1400"
    [endpoint] = [e for e in one.client.endpoints() if e.mac == mac]
    assert endpoint.published == ("8080:80/tcp", "5300:53/udp")
    serve(one, "fixed")
    wait_for(lambda: get(two, one.vtep, 8080) == "hello\n", 15.0, "the port answers from outside")
    wait_for(lambda: get(one, one.vtep, 8080) == "hello\n", 15.0, "and from its own host")
    assert "-P FORWARD DROP" in (shown := dockers_filter(one))
    assert "-A DOCKER-USER -i vxg+ -j ACCEPT" in shown
    taken = one.refusal("run", "--publish", "8080:80", "--network", "red", "--rm", IMAGE)
    assert "port 8080/tcp of this host is in use" in taken
    one.docker("network", "create", *VXNET, "--internal", "--subnet", "10.7.0.0/24", "inside")
    one.container("alone", "inside")
    assert "default" not in one.inside("alone", "ip", "route").stdout
    assert not one.pings("alone", one.vtep)


def test_nobody_gets_to_a_container_past_its_published_ports(hosts: list[DockerHost]) -> None:
    one, two = hosts
    network_on(hosts[:1], "blue", "--subnet", "10.9.0.0/24")
    one.container("web", "blue")
    address = one.address("web", "blue")
    serve(one, "web")
    wait_for(lambda: get(one, address, 80) == "hello\n", 15.0, "its own host reaches it")
    two.host.run(["ip", "route", "add", "10.9.0.0/24", "via", one.vtep])
    assert get(two, address, 80) == ""
    two.host.run(["ip", "route", "del", "10.9.0.0/24"])


def test_a_bridge_network_leads_out_and_in_past_dockers_filter(hosts: list[DockerHost]) -> None:
    one, two = hosts
    assert "-P FORWARD DROP" in dockers_filter(one)
    assert vxnet(one, "network", "create", "app", "--driver", "bridge").returncode == 0
    for name, words in (("web", ("--publish", "8081:80")), ("other", ())):
        one.container(name, "none")
        pid = one.docker("inspect", "--format", "{{.State.Pid}}", name)
        done = vxnet(one, "attach", "app", "--pid", pid, "--name", name, *words)
        assert done.returncode == 0, done.stderr
    assert one.pings("web", two.vtep)
    # Docker's filter sees what a bridge passes on, too (bridge-nf-call-iptables).
    assert one.pings("other", one.client.endpoint("web").addresses[0].partition("/")[0])
    serve(one, "web")
    wait_for(lambda: get(two, one.vtep, 8081) == "hello\n", 15.0, "the port answers from outside")
    asked = one.inside("other", "sh", "-c", f"timeout 3 nc {one.vtep} 8081 </dev/null")
    assert asked.stdout == "hello\n"
    for name in ("web", "other"):
        assert vxnet(one, "detach", name).returncode == 0
    assert vxnet(one, "network", "rm", "app").returncode == 0


def test_what_cannot_be_is_refused_with_the_mend(hosts: list[DockerHost]) -> None:
    one, two = hosts
    network_on(hosts[:1], "blue", "--subnet", "10.9.0.0/24")
    create = ("network", "create", "--driver", "vxnet")
    assert "did you mean -o mtu=1400?" in one.refusal(*create, "--opt", "mtuu=1400", "red")
    assert "VNI 16777216" not in (said := one.refusal(*create, "--opt", "vni=16777216", "red"))
    assert "-o vni=16777216: it is a number from 0 to 16777215" in said
    said = two.refusal(*create, "--opt", "network=blue", "--subnet", "10.1.0.0/24", "blue")
    assert "network blue has 10.9.0.0/24, and Docker's has 10.1.0.0/24" in said
    # Without a word of which network it is, Docker's name comes too late to refuse at once.
    two.docker(*create, "--subnet", "10.1.0.0/24", "blue")
    said = two.refusal("run", "--rm", "--network", "blue", IMAGE)
    assert "network blue has 10.9.0.0/24" in said
    assert "--ipam-driver vxnet" in said
    two.docker("network", "rm", "blue")
    # What the IPAM driver says is shown too.
    two.docker(*create, "--ipam-driver", "vxnet", "--subnet", "10.1.0.0/24", "blue")
    said = two.refusal("run", "--rm", "--network", "blue", IMAGE)
    assert "network blue has 10.9.0.0/24, and Docker's has 10.1.0.0/24" in said
    two.docker("network", "rm", "blue")
    # Docker's own addresses are known to one host only.
    two.docker(*create, "--subnet", "10.9.0.0/24", "blue")
    one.container("web", "blue", "--ip", "10.9.0.2")
    said = two.refusal("run", "--rm", "--network", "blue", "--ip", "10.9.0.2", IMAGE)
    assert "10.9.0.2 of network blue cannot be had: it is held by" in said
    assert "--ipam-driver vxnet" in said


def test_containers_of_two_engines_are_one_service_by_a_label(hosts: list[DockerHost]) -> None:
    one, two = hosts
    network_on(hosts, "blue", "--subnet", "10.9.0.0/24")
    one.client.create_service(ServiceBody("shop", "blue", ports=("80:8080",)))
    member = ("--label", "vxnet.service=shop")
    for host, name in ((one, "m0"), (two, "m1")):
        host.container(name, "blue", *member)
        answer = f"while :; do echo {name} | nc -l -p 8080; done"
        host.docker("exec", "--detach", name, "sh", "-c", answer)
    one.container("client", "blue", "--dns", "10.9.0.254")

    def members(host: DockerHost) -> set[str]:
        services = [s for s in host.client.services() if s.name == "shop"]
        return {member.endpoint for service in services for member in service.members}

    for host in hosts:
        wait_for(lambda host=host: members(host) == {"m0", "m1"}, 40.0, "both are members")
    [vip] = one.client.service("shop").vips

    def answers() -> set[str]:
        asked = "for i in 1 2 3 4 5 6; do timeout 5 nc shop 80 </dev/null; done"
        return set(one.inside("client", "sh", "-c", asked).stdout.split())

    assert vip in one.inside("client", "nslookup", "shop").stdout
    heard: set[str] = set()

    def both_heard() -> bool:
        heard.update(answers())
        return heard == {"m0", "m1"}

    wait_for(both_heard, 60.0, f"both answer at the service's address; {heard}")
    one.client.remove_service("shop")
