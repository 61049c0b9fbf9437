"""Who may see which namespace, and so everything in it: the only place that says so (metadefs section 3).

An administrator sees all; a project its own and the public ones; a caller without project the public ones.
"""

import sqlalchemy as sa

from glance_common.model.context import RequestContext
from glance_registry.db.tables import metadef_namespaces as namespaces


def visible_to(context: RequestContext) -> sa.ColumnElement[bool]:
    """Return the clause for the namespaces that the caller may see, one by one and in lists."""
    if context.is_admin:
        return sa.true()
    public = namespaces.c.visibility == "public"
    return public if context.project_id is None else sa.or_(public, namespaces.c.owner == context.project_id)
