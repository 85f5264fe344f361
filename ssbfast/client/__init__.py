"""Floor 6: a peer in rooms. It joins them, opens tunnels, answers callers, and decides which it lets in."""
