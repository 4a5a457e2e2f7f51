"""What is asked of every peer: one file each."""
