"""The command line ``fuelline``: the tree of commands, and those that are defined nowhere else."""
