"""One session on several carriers (first tunnel, direct paths, later tunnels): nothing lost, doubled or re-ordered.

session         one end of a session: its carriers, times and endings; what an I/O layer talks to
handover        how the two directions change carriers: HOLD, TAKE, ACK and their rules
retransmission  what is kept to be sent again, what has been received
timers          pings, losses, pauses between attempts
records         what two ends tell each other about it
effects         what is to be done
streams         forwarded TCP connections on a direct path, and their way back into the session
"""
