"""`ssbfast demo`: three processes, random bytes through a tunnel and past it, and the proof."""
