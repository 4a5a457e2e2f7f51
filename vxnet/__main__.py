"""`python -m vxnet` is the `vxnet` command."""

from vxnet.cli import main

if __name__ == "__main__":
    main()
