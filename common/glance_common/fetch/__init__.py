"""Fetching what a user names: the URL filter, and the session that obeys it."""
