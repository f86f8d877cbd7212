"""``python -m lake.sources.rabbitmq``, which manifests may start; the command is ``fuelline consume events``."""

from lake.commands import events

if __name__ == "__main__":
    events()
