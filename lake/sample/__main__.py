"""``python -m lake.sample``, which manifests may start; the command is ``fuelline sample``."""

from lake.commands import sample

if __name__ == "__main__":
    sample()
