"""The graphs, readable as prose: wiring only."""
