"""What imports are made of: sources of bytes, plugins that change a staged image, and the confinement of their tools.

Every part works alone: it knows neither the registry nor a store, and gets what it needs by argument.
"""
