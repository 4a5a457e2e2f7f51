"""Rotating the gossip's key while traffic flows: no member is lost, and no connection."""

import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.helpers.clusters import cluster_on, reaches, vxnet
from vxnet.api.model import ForceBody, KeyBody, KeyView
from vxnet.demo.cluster import Cluster, Daemon, wait_for
from vxnet.demo.station import Station

pytestmark = [pytest.mark.netns, pytest.mark.timeout(400)]

ROTATIONS = 20


@contextmanager
def conversation(source: Station, target: Station) -> Iterator[list[int]]:
    """A TCP connection on which something is said and answered all the time.

    Gives the numbers of the answers so far; an end before it is asked for fails the test.
    """
    address, answers, over = target.addresses[0], list[int](), threading.Event()
    with (
        target.socket(socket.AF_INET, socket.SOCK_STREAM) as listener,
        source.socket(socket.AF_INET, socket.SOCK_STREAM) as asker,
    ):
        listener.bind((address, 0))
        listener.listen(1)
        asker.settimeout(30)
        asker.connect(listener.getsockname())
        answerer, _ = listener.accept()
        answerer.settimeout(30)

        def talk() -> None:
            number = 0
            while not over.wait(0.01):
                asker.sendall(number.to_bytes(4, "big"))
                answerer.sendall(answerer.recv(4, socket.MSG_WAITALL))
                answers.append(int.from_bytes(asker.recv(4, socket.MSG_WAITALL), "big"))
                number += 1

        thread = threading.Thread(target=talk)
        with answerer:
            thread.start()
            try:
                yield answers
            finally:
                over.set()
                thread.join()
    assert answers == list(range(len(answers)))


def by_id(daemon: Daemon) -> dict[str, KeyView]:
    """The keys a daemon accepts."""
    views = daemon.client.keys()
    return {view.id: view for view in views}


def all_accept(cluster: Cluster, kid: str) -> bool:
    """Whether every host knows that every host accepts a key."""
    views = [by_id(daemon).get(kid) for daemon in cluster.daemons]
    return all(view is not None and not view.lacking_on for view in views)


def rotate(cluster: Cluster) -> None:
    """Install a new key on every host, use it on every host, remove the old one on every host."""
    [old] = by_id(cluster.daemons[0])
    body = KeyBody(secrets.token_hex(32))
    for daemon in cluster.daemons:
        daemon.client.install_key(body)
    [new] = by_id(cluster.daemons[0]).keys() - {old}
    wait_for(lambda: all_accept(cluster, new), 20.0, "every host accepts the new key")
    for daemon in cluster.daemons:
        daemon.client.use_key(new, ForceBody())
    for daemon in cluster.daemons:
        daemon.client.remove_key(old, ForceBody())
    assert all(by_id(daemon).keys() == {new} for daemon in cluster.daemons)


def test_twenty_rotations_under_traffic_lose_no_member_and_no_connection() -> None:
    with cluster_on(3, network="blue") as cluster:
        first, _, last = (daemon.attach("blue") for daemon in cluster.daemons)
        with conversation(first, last) as answers:
            for _ in range(ROTATIONS):
                before = len(answers)
                rotate(cluster)
                states = {m.state for daemon in cluster.daemons for m in daemon.members()}
                assert states == {"alive"}
                wait_for(lambda n=before: len(answers) > n, 10.0, "the conversation goes on")
        time.sleep(6.0)  # longer than a member that is not heard stays unsuspected
        assert {m.state for d in cluster.daemons for m in d.members()} == {"alive"}
        assert reaches(first, last)
        for daemon in cluster.daemons:
            daemon.kill()
        for daemon in cluster.daemons:
            daemon.start()
            daemon.wait_until_ready()
        cluster.wait_for_members()  # with the keys that their files hold now


def test_a_key_that_a_live_member_lacks_is_not_used() -> None:
    with cluster_on(2) as cluster:
        daemon = cluster.daemons[0]
        [old] = by_id(daemon)
        key = secrets.token_hex(32)
        assert vxnet(daemon, "keys", "install", key).returncode == 0
        [new] = by_id(daemon).keys() - {old}
        done = vxnet(daemon, "keys", "use", new)
        assert done.returncode == 1
        assert "h2" in done.stderr
        assert by_id(daemon)[old].in_use
        assert key not in vxnet(daemon, "keys", "list", "--json").stdout
