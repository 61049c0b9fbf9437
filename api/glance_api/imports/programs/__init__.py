"""Programs that run confined, each in a process of its own and with nothing but the standard library."""
