"""What one API process does besides answering requests: it works off operations."""
