"""Stores behind a network: this service beside the tool of each store, and beside the original on the same store."""
