"""The cinder store: images are volumes of OpenStack's Block Storage service."""
