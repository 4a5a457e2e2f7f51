"""Network drivers, one file each; `vxnet.cnm.driver` says what one is."""
