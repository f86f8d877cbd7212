"""``python -m serving.reconcile``, which manifests may start; the command is ``fuelline serve reconcile``."""

from serving.commands import reconcile

if __name__ == "__main__":
    reconcile()
