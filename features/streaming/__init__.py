"""Streaming features: counters of events in Redis, summed over sliding windows."""
