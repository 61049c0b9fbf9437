"""The sheepdog driver: images as virtual disks of a Sheepdog cluster, reached by its command ``dog``."""
