"""What lets people look into a running daemon: captures, probes, traces, and metrics."""

from collections.abc import Sequence
from contextlib import AsyncExitStack

from vxnet.api.routes import Route
from vxnet.api.seeing import SeeingRoutes
from vxnet.api.views import Views
from vxnet.captures import Captures
from vxnet.config import Settings, parse_host_port
from vxnet.control.gossip import GossipControl
from vxnet.daemon.journal import Journal
from vxnet.endpoints import Endpoints
from vxnet.networks import Networks
from vxnet.probe.channel import Channel
from vxnet.probe.prober import Prober
from vxnet.tracer import Tracer

__all__ = ["Lookout"]


class Lookout:
    """Makes these parts from those there are. `mtu` is that of the largest network."""

    def __init__(
        self,
        settings: Settings,
        views: Views,
        control: GossipControl,
        journal: Journal,
        networks: Networks,
        endpoints: Endpoints,
        mtu: int,
    ) -> None:
        self._settings = settings
        self._views = views
        datapath = views.datapath
        self._captures = Captures(datapath)
        self._channel = Channel(datapath, control, mtu)
        self._prober = Prober(control, self._channel)
        tracer = Tracer(
            datapath,
            control,
            self._prober,
            self._captures,
            networks,
            endpoints,
            port_of=views.port_of,
        )
        self._routes = SeeingRoutes(
            views,
            self._captures,
            self._prober,
            tracer,
            settings,
            alarms=journal.raised,
            unreadable=control.unreadable,
            seeds=control.seeds,
        )

    def routes(self) -> Sequence[Route]:
        """What the control API answers with them."""
        return self._routes.all()

    def open(self, stack: AsyncExitStack) -> None:
        """Answer other hosts' questions. To be called once the control plane has started."""
        stack.callback(self._channel.close)
        self._prober.open()

    async def serve(self, stack: AsyncExitStack) -> None:
        """Serve metrics where that is asked for. To be called once the control API answers.

        When the stack ends, streams end before the control API waits for them.
        """
        stack.callback(self._captures.close_all)
        if self._settings.metrics.listen:
            # Who asks for no metrics pays nothing for what serves them.
            from vxnet.api.metrics import MetricsServer

            metrics = MetricsServer(*parse_host_port(self._settings.metrics.listen), self._views)
            stack.push_async_callback(metrics.close)
            await metrics.start()
