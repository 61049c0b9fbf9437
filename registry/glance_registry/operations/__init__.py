"""Background operations: claimed, renewed, ended."""
