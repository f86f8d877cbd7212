"""``python -m features.consumer``, which manifests may start; the command is ``fuelline consume features``."""

from features.commands import features

if __name__ == "__main__":
    features()
