"""Clusters of real gossip nodes on a virtual clock: the same seed gives the same run, always."""
