"""vxnet: one Ethernet for the containers, virtual machines and namespaces of several hosts."""

__all__ = ["__version__"]

__version__ = "0.1.0"
