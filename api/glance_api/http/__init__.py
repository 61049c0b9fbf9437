"""What every version of the HTTP API shares: requests, errors, middleware."""
