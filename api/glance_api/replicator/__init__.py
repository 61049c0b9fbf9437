"""glance-replicator: copies of images from one glance-api to another, and to files and back."""
