"""Hole punching: how two peers behind NATs find a direct path, without I/O.

attempt     one attempt: which probes leave when, and which path it is
probes      the datagrams
candidates  where a peer says that it is, and which of it we are ready to send to
birthday    the search for a symmetric NAT's port
"""
