"""Hole punching: how two peers behind NATs find a direct path, without I/O.

attempt     one attempt: which probes leave when, and which path it is
pace        all attempts: the one pace of their probes, and whose turn it is
budgets     all attempts: places, sockets, and checks without an answer, for each peer and in all
probes      the datagrams
candidates  where a peer says that it is, and which of it we are ready to send to
birthday    the search for a symmetric NAT's port
"""
