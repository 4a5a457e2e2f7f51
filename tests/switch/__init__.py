"""The switch's decisions, on a clock and with frames of the tests' own."""
