"""What is inside the bytes of an image: digests, formats, signatures."""
