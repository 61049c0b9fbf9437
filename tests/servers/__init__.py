"""Servers that tests need, one starter each."""
