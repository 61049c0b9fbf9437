"""What only the Images API v1 does."""
