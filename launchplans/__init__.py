"""Launch plans: when each workflow runs, with which inputs, and how they are registered."""
