"""Frames of this host: TAP devices, and the in-memory link of the tests."""
