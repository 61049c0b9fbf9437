"""What an owner uses, and the limits of that."""
