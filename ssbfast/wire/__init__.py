"""Floor 2, the protocols: bytes and events in and out; no I/O, no clock, no randomness but what is passed in."""
