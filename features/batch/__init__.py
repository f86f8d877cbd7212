"""The scheduled computation of features, and the as-of join for training."""
