"""Floor 3, the decisions of a portal and its peers: pure, keyed by session, time passed in."""
