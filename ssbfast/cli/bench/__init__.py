"""`ssbfast bench`: measure this machine on each of its kernels, beside libsodium."""
