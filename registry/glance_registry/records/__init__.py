"""Rows: their locks, who sees them, and the documents made of them."""
