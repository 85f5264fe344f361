"""One session on several carriers (first tunnel, direct paths, later tunnels): nothing lost, doubled or re-ordered.

machine    what a shell talks to: one end of a session, its carriers, times and endings
moves      how the two directions change carriers: HOLD, TAKE, ACK and their rules
direction  what is kept for re-sending, what has been received
pacing     pings, losses, pauses between attempts
records    what two ends tell each other about it
effects    what is to be done
streams    forwarded TCP connections on a direct path, and their way back into the session
"""
