"""The gridfs driver: images in the GridFS of a MongoDB database."""
