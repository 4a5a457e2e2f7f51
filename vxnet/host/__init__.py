"""The rest of the operating system: netlink, the state on disk, systemd."""
