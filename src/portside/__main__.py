"""`python -m portside` is the `portside` command."""

import sys

from portside.cli import main

if __name__ == "__main__":
    sys.exit(main())
