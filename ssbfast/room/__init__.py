"""Floor 3, what a portal and its peers decide: pure, keyed by session, time passed in."""
