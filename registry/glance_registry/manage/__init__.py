"""The commands of glance-manage."""
