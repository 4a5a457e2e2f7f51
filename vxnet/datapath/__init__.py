"""Where frames move: one protocol, a Python and a Rust implementation."""
