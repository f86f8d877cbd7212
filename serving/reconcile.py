"""The command under its old path, which manifests call; see ``serving.replicas.reconcile``."""

import sys

from serving.replicas.reconcile import main

if __name__ == "__main__":
    sys.exit(main())
