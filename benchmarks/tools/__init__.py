"""Traffic tools: each a program of one file that needs the standard library only.

They run by path inside a namespace, so they start fast and import nothing of vxnet, and they are
the same for every peer.
"""
