"""Floor 5: programs. Here `ssbfast.room` (what is decided) and `ssbfast.net` (what is moved) meet."""
