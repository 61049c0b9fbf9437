"""Default rules of the catalogue of metadata definitions (configuration section 10): a project reads what
is its own or public, administrators write (S-30)."""

from oslo_policy import policy

from glance_api.policy.rules import ADMIN, OWNER_READS, rule

_NAMESPACES = "/v2/metadefs/namespaces"
_NAMESPACE = f"{_NAMESPACES}/{{namespace}}"
_PROPERTIES, _PROPERTY = f"{_NAMESPACE}/properties", f"{_NAMESPACE}/properties/{{property_name}}"
_OBJECTS, _OBJECT = f"{_NAMESPACE}/objects", f"{_NAMESPACE}/objects/{{object_name}}"
_TAGS, _TAG = f"{_NAMESPACE}/tags", f"{_NAMESPACE}/tags/{{tag_name}}"
_TYPES, _ASSOCIATIONS = "/v2/metadefs/resource_types", f"{_NAMESPACE}/resource_types"
_ASSOCIATION = f"{_ASSOCIATIONS}/{{resource_type}}"

_READ = "rule:context_is_admin or (role:reader and (project_id:%(project_id)s or 'public':%(visibility)s))"
_WRITE = "rule:metadef_admin"

RULES: list[policy.RuleDefault] = [
    policy.RuleDefault("metadef_default", "", "Nothing by itself: a name that rules of a policy file may refer to."),
    policy.RuleDefault("metadef_admin", ADMIN, "Who maintains the catalogue of metadata definitions."),
    rule("get_metadef_namespace", _READ, "See a namespace; asked before everything in it.", f"GET {_NAMESPACE}"),
    rule("get_metadef_namespaces", OWNER_READS, "List namespaces.", f"GET {_NAMESPACES}"),
    rule("modify_metadef_namespace", _WRITE, "Change a namespace.", f"PUT {_NAMESPACE}"),
    rule("add_metadef_namespace", _WRITE, "Create a namespace.", f"POST {_NAMESPACES}"),
    rule("delete_metadef_namespace", _WRITE, "Delete a namespace, or all its objects or properties.",
         f"DELETE {_NAMESPACE}", f"DELETE {_OBJECTS}", f"DELETE {_PROPERTIES}"),
    rule("get_metadef_object", _READ, "See an object.", f"GET {_OBJECT}"),
    rule("get_metadef_objects", _READ, "List objects.", f"GET {_OBJECTS}", f"GET {_NAMESPACE}"),
    rule("modify_metadef_object", _WRITE, "Change an object.", f"PUT {_OBJECT}"),
    rule("add_metadef_object", _WRITE, "Create an object.", f"POST {_OBJECTS}", f"POST {_NAMESPACES}"),
    rule("delete_metadef_object", _WRITE, "Delete an object.", f"DELETE {_OBJECT}"),
    rule("list_metadef_resource_types", _READ, "List the kinds of resources.", f"GET {_TYPES}"),
    rule("get_metadef_resource_type", _READ, "See with which kinds of resources a namespace is associated.",
         f"GET {_ASSOCIATIONS}", f"GET {_NAMESPACE}"),
    rule("add_metadef_resource_type_association", _WRITE, "Associate a namespace with a kind of resources.",
         f"POST {_ASSOCIATIONS}", f"POST {_NAMESPACES}"),
    rule("remove_metadef_resource_type_association", _WRITE, "End such an association.", f"DELETE {_ASSOCIATION}"),
    rule("get_metadef_property", _READ, "See a property.", f"GET {_PROPERTY}"),
    rule("get_metadef_properties", _READ, "List properties.", f"GET {_PROPERTIES}", f"GET {_NAMESPACE}"),
    rule("modify_metadef_property", _WRITE, "Change a property.", f"PUT {_PROPERTY}"),
    rule("add_metadef_property", _WRITE, "Create a property.", f"POST {_PROPERTIES}", f"POST {_NAMESPACES}"),
    rule("remove_metadef_property", _WRITE, "Delete a property.", f"DELETE {_PROPERTY}"),
    rule("get_metadef_tag", _READ, "See a tag.", f"GET {_TAG}"),
    rule("get_metadef_tags", _READ, "List tags.", f"GET {_TAGS}", f"GET {_NAMESPACE}"),
    rule("modify_metadef_tag", _WRITE, "Rename a tag.", f"PUT {_TAG}"),
    rule("add_metadef_tag", _WRITE, "Create a tag.", f"POST {_TAG}"),
    rule("add_metadef_tags", _WRITE, "Replace or add to all tags.", f"POST {_TAGS}", f"POST {_NAMESPACES}"),
    rule("delete_metadef_tag", _WRITE, "Delete a tag.", f"DELETE {_TAG}"),
    rule("delete_metadef_tags", _WRITE, "Delete all tags of a namespace.", f"DELETE {_TAGS}"),
]
