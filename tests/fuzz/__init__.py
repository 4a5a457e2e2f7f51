"""Fuzzing: every parser of hostile octets, driven by coverage."""
