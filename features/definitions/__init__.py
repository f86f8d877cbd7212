"""Definitions of features: views, transforms, and measures of the infrastructure."""
