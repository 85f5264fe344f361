"""The API of pyssb / python-ssb, both generations (2019 and 2023), on the engine of ssbfast."""
