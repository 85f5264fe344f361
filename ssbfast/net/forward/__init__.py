"""TCP connections carried in a session: the two ends of a forward, and the window of one connection."""
