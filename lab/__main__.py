"""`python -m lab` is `scripts/vm-demo`."""

import sys

from lab.demo import main

sys.exit(main())
