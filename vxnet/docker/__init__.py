"""The Docker plugin: libnetwork's remote network driver and IPAM driver, over the same verbs."""
