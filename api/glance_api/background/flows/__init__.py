"""What each kind of operation does, step by step."""
