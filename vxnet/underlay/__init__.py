"""Datagrams between hosts."""
