"""Several hosts on this machine, end to end, to see that vxnet does what it says."""
