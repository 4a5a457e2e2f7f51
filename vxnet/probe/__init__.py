"""Finding out about the way to other hosts, by sending something along it."""
