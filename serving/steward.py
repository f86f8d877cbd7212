"""The command under its old path, which manifests call; see ``serving.rollout.controller``."""

import sys

from serving.rollout.controller import main

if __name__ == "__main__":
    sys.exit(main())
