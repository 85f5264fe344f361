"""Floor 5: direct paths, or how a session leaves the room and comes back.

options, negotiation, caller, answerer, gathering  the two ends agree to meet
hole_punch, udp, stun_client, interfaces, budgets  an attempt on real sockets
quic_path, quic_connection, quic_driver, certificates
                                                   QUIC over a punched socket; the first two alone know aioquic
carrier_transport, carriers, standby_tunnel        the transport of a session that may move, and what it moves over
forwarded_stream, forwarded_streams                forwarded TCP connections on a direct path
"""
