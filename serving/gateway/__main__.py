"""``python -m serving.gateway``, which manifests may start; the command is ``fuelline serve gateway``."""

from serving.commands import gateway

if __name__ == "__main__":
    gateway()
