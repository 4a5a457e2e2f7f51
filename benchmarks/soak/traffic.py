"""What goes on between the stations all the while, at a modest rate."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.bed import End
from benchmarks.process import Program, program
from benchmarks.questions.tcp import iperf_server
from vxnet.demo.station import Station

__all__ = ["mixed"]

FOR_EVER = "86400"
TCP_RATE, UDP_RATE = "20M", "1M"


@contextmanager
def mixed(stations: list[Station], directory: Path) -> Iterator[list[Program]]:
    """TCP both ways and small UDP datagrams between the first two, pings with the third."""
    _, second, third = stations
    ends = [End(station.sandbox.path, station.addresses[0]) for station in stations]
    tcp = ["iperf3", "-c", ends[1].address, "-t", FOR_EVER, "-b", TCP_RATE, "--bidir"]
    udp = ["iperf3", "-c", ends[0].address, "-t", FOR_EVER, "-b", UDP_RATE, "-u", "-l", "64"]
    pings = ["ping", "-n", "-q", "-i", "0.2"]
    jobs = (
        (ends[0], tcp),
        (ends[1], udp),
        (ends[0], [*pings, third.addresses[1]]),
        (ends[2], [*pings, second.addresses[0]]),
    )
    with ExitStack() as stack:
        for number, end in enumerate(ends[:2]):
            (place := directory / f"server{number}").mkdir(exist_ok=True)
            stack.enter_context(iperf_server(end, place))
        yield [
            stack.enter_context(program(words, directory / f"job{number}.log", netns=end.netns))
            for number, (end, words) in enumerate(jobs)
        ]
