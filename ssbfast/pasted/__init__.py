"""Floor 4: ids, addresses and endpoints as people paste them, read into the types of `ssbfast.wire`."""
