"""Gossip agents by the dozen, all on one machine."""
