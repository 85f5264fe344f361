"""Floor 4: sockets, loops and clocks. No protocol rule lives here; those are in `ssbfast.wire`."""
