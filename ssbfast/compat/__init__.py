"""Drop-ins for the pure-Python stacks `secret_handshake` and `ssb` (`ssb_client`).

See docs/howto/come-from-pyssb.md.
"""
