"""What Schemathesis has to know about this API; read by the program itself, in its own environment."""

import json
import os
import random
from typing import Any

import schemathesis

PATCHES = ("application/openstack-images-v2.1-json-patch", "application/openstack-images-v2.0-json-patch")

IMAGES = os.environ["GLANCE_IMAGES"].split()
"""Ids of images that exist."""


@schemathesis.serializer(*PATCHES)
def json_patch(_context: Any, value: Any) -> bytes:
    """Write the body of a PATCH."""
    return json.dumps(value).encode()


@schemathesis.deserializer("application/octet-stream")
def octets(_context: Any, response: Any) -> str:
    """Read image data, a character for each byte, as the checks handle JSON values only."""
    return response.content.decode("latin-1")


@schemathesis.hook
def before_load_schema(_context: Any, raw_schema: dict[str, Any]) -> None:
    """Take out the tokens, because the service under test knows every caller without one, and what is read differently.

    What a regular expression is the service asks Python, and the program another library, which knows another dialect:
    now and then one takes a random text for a pattern and the other does not.
    """
    del raw_schema["security"]
    _take_out(raw_schema, "format", "regex")


def _take_out(schema: Any, key: str, value: str) -> None:
    """Remove the entries of this key and value wherever they stand."""
    if isinstance(schema, dict):
        if schema.get(key) == value:
            del schema[key]
        for inner in schema.values():
            _take_out(inner, key, value)
    elif isinstance(schema, list):
        for inner in schema:
            _take_out(inner, key, value)


@schemathesis.hook
def map_case(_context: Any, case: schemathesis.Case) -> schemathesis.Case:
    """Let most good requests name an image that exists, which no generated id does."""
    meta = case.meta
    fits = meta is not None and meta.generation.mode.is_positive and meta.phase.name.value == "fuzzing"
    if fits and "image_id" in case.path_parameters and random.random() < 0.8:
        case.path_parameters["image_id"] = random.choice(IMAGES)
    return case
