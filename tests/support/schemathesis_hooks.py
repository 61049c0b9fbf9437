"""What Schemathesis has to know about this API; read by the program itself, in its own environment."""

import json
from typing import Any

import schemathesis

PATCHES = ("application/openstack-images-v2.1-json-patch", "application/openstack-images-v2.0-json-patch")


@schemathesis.serializer(*PATCHES)
def json_patch(_context: Any, value: Any) -> bytes:
    """Write the body of a PATCH."""
    return json.dumps(value).encode()


@schemathesis.deserializer("application/octet-stream")
def octets(_context: Any, response: Any) -> bytes:
    """Read image data."""
    return response.content


@schemathesis.hook
def before_load_schema(_context: Any, raw_schema: dict[str, Any]) -> None:
    """Take out the tokens, because the service under test knows every caller without one."""
    del raw_schema["security"]
