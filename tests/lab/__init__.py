"""Whole machines to try vxnet on: a Debian of its own as a container with systemd, or as a VM."""
