"""Who may do what with a namespace and with what is in it (metadefs section 3)."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from glance_api.services.collaborators import RecordServices
from glance_common.model.context import RequestContext
from glance_common.model.errors import Forbidden, NotFound
from glance_common.model.metadef import Namespace

T = TypeVar("T")
Read = Callable[[], T]
"""Reads what a request describes. It takes time, so the caller's right is checked first (S-59)."""


def target(namespace: Namespace) -> dict[str, Any]:
    """Return what rules see of a namespace; unset values are left out, so that they equal nothing."""
    return _described(
        namespace.namespace, namespace.owner, namespace.visibility, protected=namespace.protected
    )


def new_target(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what rules see of a namespace that is about to be made, whose document may still be wrong."""
    name, owner, visibility = (document.get(field) for field in ("namespace", "owner", "visibility"))
    return _described(
        name if isinstance(name, str) else "",
        owner if isinstance(owner, str) else None,
        visibility if isinstance(visibility, str) else "private",
        protected=document.get("protected") is True,
    )


def _described(name: str, owner: str | None, visibility: str, *, protected: bool) -> dict[str, Any]:
    known = {"namespace": name, "visibility": visibility, "protected": protected}
    return known if owner is None else known | {"project_id": owner, "owner": owner}


def visible(services: RecordServices, context: RequestContext, name: str, *, content: bool = False) -> Namespace:
    """Return a namespace that the registry and the rule ``get_metadef_namespace`` show; else raise NotFound (S-43)."""
    namespace = services.registry.metadefs.get_namespace(context, name, content=content)
    if not services.policy.allows(context, "get_metadef_namespace", target(namespace)):
        raise NotFound(f"Metadata definition namespace {name} is not found")
    return namespace


def readable(services: RecordServices, context: RequestContext, name: str, rule: str) -> Namespace:
    """Return a visible namespace in which ``rule`` lets the caller read. Raises NotFound, PolicyDenied."""
    namespace = visible(services, context, name)
    services.policy.check(context, rule, target(namespace))
    return namespace


def writable(services: RecordServices, context: RequestContext, name: str, rule: str) -> Namespace:
    """Return a visible namespace in which ``rule`` lets the caller write. Raises NotFound, PolicyDenied, Forbidden.

    Whatever the rules say, a project changes nothing in the namespaces of others (S-30).
    """
    namespace = readable(services, context, name, rule)
    check_owner(context, namespace.owner)
    return namespace


def check_owner(context: RequestContext, owner: str | None) -> None:
    """Raise Forbidden unless the caller writes for its own project or is an administrator."""
    if not context.is_admin and (owner is None or owner != context.project_id):
        raise Forbidden("a namespace of another project is changed by that project or an administrator")
