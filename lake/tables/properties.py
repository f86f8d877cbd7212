"""Names that tables and their snapshots carry. They are stored: none of them ever changes."""

KEY = "fuelline.key"
"""In a snapshot's summary: what its rows were made from."""
INPUTS = "fuelline.inputs"
"""In a snapshot's summary: the table versions that its rows were computed from, as JSON."""
MAINTENANCE = "fuelline.maintenance"
"""In the summary of each snapshot that only rewrites or removes rows: it brings no new ones."""
REPLACED = "fuelline.partitions"
"""In a snapshot's summary: the partitions that it replaced, as JSON."""
NONCE = "fuelline.nonce"
"""In a snapshot's summary: identifies the commit of a replacement."""
WATERMARK = "fuelline.watermark."
"""Prefix of a table property: the time of the newest row of a source."""
PINNED = "fuelline.pinned."
"""Prefix of a table property: the newest snapshot of an input that rows were computed from, as its sequence number."""
CONTRACT = "fuelline.contract"
"""Table property: the version of the contract."""
NEW_TABLE = {
    "commit.retry.num-retries": "0",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "50",
    "write.parquet.compression-codec": "zstd",
}
"""Properties of a new table. The library's own retry is off, see ``lake.tables.commit``."""
