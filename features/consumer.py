"""The command under its old path, which manifests call; see ``features.streaming.consumer``."""

import sys

from features.streaming.consumer import main

if __name__ == "__main__":
    sys.exit(main())
