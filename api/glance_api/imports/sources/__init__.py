"""Where the bytes of an import come from when they are not staged by the client."""
