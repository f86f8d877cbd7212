"""Features: definitions, scheduled computation, training join, online store, streaming, curated tables, drift."""
