"""The command under its old path, which manifests call; see ``lake.sample.generate``."""

import sys

from lake.sample.generate import main

if __name__ == "__main__":
    sys.exit(main())
