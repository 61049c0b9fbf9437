"""Trying the take-over of an installation of the original on one machine, before the real one."""
