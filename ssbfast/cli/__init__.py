"""Floor 8: the commands of `ssbfast`, one module each. Importing them needs the extra `room` (click, rich)."""
