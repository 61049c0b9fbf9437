"""What may happen to a staged image before it goes to the stores (configuration 1.5)."""
