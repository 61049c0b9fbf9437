"""The file driver: images as files in one directory or in several with priorities."""
