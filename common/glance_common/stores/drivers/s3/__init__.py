"""The s3 store: objects in one bucket of a server that speaks Amazon's S3 protocol."""
