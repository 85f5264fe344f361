"""Drop-ins for the pure-Python stacks `secret_handshake` and `ssb` (`ssb_client`): see COMING_FROM.md."""
