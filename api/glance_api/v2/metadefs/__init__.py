"""The catalogue of metadata definitions over HTTP."""
