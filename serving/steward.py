"""``python -m serving.steward``, which manifests may start; the command is ``fuelline rollout controller``."""

from serving.commands import controller

if __name__ == "__main__":
    controller()
