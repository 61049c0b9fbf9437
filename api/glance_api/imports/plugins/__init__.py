"""What may happen to a staged image before it goes to the stores (configuration section 1.5)."""
