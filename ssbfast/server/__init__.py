"""Floor 6: a room. Here `ssbfast.room` (what is decided) and `ssbfast.net` (what is moved) meet."""
