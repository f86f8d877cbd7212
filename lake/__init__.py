"""The data: object store, ledger, Iceberg tables, contracts, sources, ingestion, quality and lineage."""
