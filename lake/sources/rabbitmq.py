"""The command under its old path, which manifests call; see ``lake.sources.events``."""

import sys

from lake.sources.events import main

if __name__ == "__main__":
    sys.exit(main())
