"""What the bytes on the wire mean: codecs over offsets, no objects per frame, no I/O."""
