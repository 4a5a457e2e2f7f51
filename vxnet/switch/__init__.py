"""Frames in, actions out: what an Ethernet switch with VXLAN tunnels decides."""
