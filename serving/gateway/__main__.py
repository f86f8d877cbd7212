"""The command under its old path, which manifests call; see ``serving.gateway.app``."""

import sys

from serving.gateway.app import main

if __name__ == "__main__":
    sys.exit(main())
