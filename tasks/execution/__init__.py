"""Starting launch plans by name: on a cluster through FlyteAdmin, on a laptop as processes."""
