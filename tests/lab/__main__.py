"""`python -m tests.lab` is `scripts/vm-demo`."""

import sys

from tests.lab.demo import main

sys.exit(main())
