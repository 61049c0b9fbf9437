"""The swift store: objects in containers of OpenStack Swift, or of another server that speaks its protocol."""
