"""Peers of QUIC by several libraries, each a program with the same arguments: see `peer.py`."""
