"""The daemon: parts built from settings, run on uvloop, ended in order."""
