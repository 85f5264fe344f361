"""Direct paths: how a session leaves the room and comes back.

meeting, rendezvous, answers, preparing  the ends agree to meet: terms, caller, target, what is made ahead
punching, udp, stun, interfaces          an attempt on real sockets
path, quic, driver, certificates         QUIC over a punched socket; `path` and `quic` are all that knows aioquic
migration                                a session's transport once it may move, over its ways:
first_tunnel, ways, standby              the tunnel that it began in, a direct path, the tunnel that stands by
stream, forwards                         forwarded TCP connections
"""
