"""Images: their life, members, tags and lists."""
