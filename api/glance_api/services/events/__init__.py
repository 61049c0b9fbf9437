"""The notifications of what happens to images, tasks and metadata definitions."""
