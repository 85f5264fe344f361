"""`ssbfast bench`: how fast this machine is, on each of its kernels, beside libsodium."""
