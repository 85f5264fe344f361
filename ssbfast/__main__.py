"""`python -m ssbfast`: the same as the command `ssbfast`."""

from ssbfast.app.cli import main

if __name__ == "__main__":
    main()
