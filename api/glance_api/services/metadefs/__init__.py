"""What callers do with the catalogue of metadata definitions."""
