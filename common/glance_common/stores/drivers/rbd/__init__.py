"""The rbd driver: images in a pool of a Ceph cluster, from which Nova and Cinder clone."""
