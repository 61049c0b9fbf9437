"""Locations: which bytes belong to which image, from the first byte to the purge."""
