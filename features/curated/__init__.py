"""The curated layer: what analysts and dashboards read, rebuilt partition by partition from pinned snapshots.

It stands on the floor of the features because it is made as they are, by Ibis expressions over the same interactions,
and with some of the same ones.
"""
