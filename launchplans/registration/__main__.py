"""``python -m launchplans.registration register`` or ``package``; now ``fuelline register`` or ``package``."""

from launchplans.commands import registration

if __name__ == "__main__":
    registration()
