"""The values that all daemons share, and their rules."""
