"""What the routes of API and registry have in common."""

from werkzeug.routing import BaseConverter


class RestConverter(BaseConverter):
    """The rest of a path as one text, slashes included: tags and projects may hold any character."""

    regex = r"(?s:.+)"
    part_isolating = False
