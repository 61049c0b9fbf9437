"""The catalogue of metadata definitions: namespaces and what is in them (metadefs sections 1 to 9).

It only describes; nothing of it is enforced on images.
"""
