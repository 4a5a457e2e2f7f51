"""The link without a device."""

from vxnet.link.memory import MemoryLink


def test_what_the_host_sends_is_read_and_what_is_written_it_receives() -> None:
    link = MemoryLink("one", uso=False)
    (fd,) = link.fds
    link.send(b"frame", b"0123456789")
    with open(fd, "r+b", buffering=0, closefd=False) as ours:
        assert ours.read(100) == b"0123456789frame"
        ours.write(b"9876543210answer")
    assert link.receive() == (b"9876543210", b"answer")
    assert link.receive() is None
    assert (link.name, link.uso) == ("one", False)
    link.close()
    link.close()
    assert link.fds == ()
