"""The overlays that are measured: one file each."""
