"""VXG/1: who is alive and who has what, as a state machine without I/O."""
