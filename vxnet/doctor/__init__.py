"""`vxnet doctor`: what is wrong with this host and on the ways to the others, and the mend."""
