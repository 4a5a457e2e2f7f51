"""A third party's libnetwork plugin: endpoints are veth pairs on a bridge that it makes.

Run as `python -m vxnet.demo.plugin SOCKET`, in the host's namespace.
"""

import asyncio
import sys
from typing import Any

from aiohttp import web
from pyroute2.iproute.linux import IPRoute

__all__ = ["Plugin"]


class Plugin:
    """Answers libnetwork's calls. A network's option `refuse` makes it refuse."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        self.calls.append(method)
        body = await request.json()
        # pyroute2's plain sockets have a loop of their own, so they cannot be used on this one.
        return web.json_response(await asyncio.to_thread(self.handle, method, body))

    def handle(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        bridge = "pl" + body.get("NetworkID", "")[:10]
        near, far = (f"{side}{body.get('EndpointID', '')[:10]}" for side in ("pn", "pf"))
        match method:
            case "Plugin.Activate":
                return {"Implements": ["NetworkDriver"]}
            case "NetworkDriver.GetCapabilities":
                return {"Scope": "local", "ConnectivityScope": "local"}
            case "NetworkDriver.CreateNetwork":
                if "refuse" in body["Options"]["com.docker.network.generic"]:
                    return {"Err": "it was asked to refuse"}
                with IPRoute() as netlink:
                    if not netlink.link_lookup(ifname=bridge):
                        netlink.link("add", ifname=bridge, kind="bridge")
                        self.up(netlink, bridge)
            case "NetworkDriver.DeleteNetwork":
                self.remove(bridge)
            case "NetworkDriver.CreateEndpoint":
                with IPRoute() as netlink:
                    netlink.link("add", ifname=near, kind="veth", peer={"ifname": far})
                    (master,) = netlink.link_lookup(ifname=bridge)
                    (index,) = netlink.link_lookup(ifname=near)
                    netlink.link("set", index=index, master=master, state="up")
                return {"Interface": {}}
            case "NetworkDriver.Join":
                return {"InterfaceName": {"SrcName": far, "DstPrefix": "eth"}}
            case "NetworkDriver.DeleteEndpoint":
                self.remove(near)
        return {}

    def up(self, netlink: IPRoute, name: str) -> None:
        (index,) = netlink.link_lookup(ifname=name)
        netlink.link("set", index=index, state="up")

    def remove(self, name: str) -> None:
        with IPRoute() as netlink:
            for index in netlink.link_lookup(ifname=name):
                netlink.link("del", index=index)


if __name__ == "__main__":
    app = web.Application()
    app.router.add_post("/{method:.+}", Plugin().answer)
    web.run_app(app, path=sys.argv[1], print=None)
