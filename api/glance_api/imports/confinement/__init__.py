"""What keeps a tool from everything but its input and its work folder: Landlock, or bubblewrap."""
