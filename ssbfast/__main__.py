"""`python -m ssbfast`: the same as the command `ssbfast`."""

from ssbfast.cli.main import main

if __name__ == "__main__":
    main()
