"""Registration of a version of all tasks, workflows and launch plans on FlyteAdmin."""
