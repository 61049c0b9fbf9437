"""An import as a client asked for it, and as the operation that does it keeps it (API section 11.2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from glance_api.imports.sources.web_download import MAX_URI

METHODS = DIRECT, WEB, COPY, DOWNLOAD = "glance-direct", "web-download", "copy-image", "glance-download"

TEXTS = {"uri": MAX_URI, "glance_region": 255, "glance_image_id": 255, "glance_service_interface": 255}
"""The members of ``method`` beside its name: all are text, with at most so many characters (S-59)."""


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What an import request says; a text that the client did not give is empty.

    ``stores`` are those of the body, ``header_store`` is the one of X-Image-Meta-Store. ``document`` holds the known
    members of the body as the client sent them: a task shows them, and another node gets them.
    """

    document: Mapping[str, Any]
    method: str
    uri: str = ""
    glance_region: str = ""
    glance_image_id: str = ""
    glance_service_interface: str = "public"
    stores: tuple[str, ...] = ()
    header_store: str | None = None
    all_stores: bool = False
    all_stores_must_succeed: bool = True

    @classmethod
    def from_document(cls, document: Mapping[str, Any], header_store: str | None = None) -> Self:
        """Read a document whose types were checked; unknown members are ignored and not kept (S-59)."""
        method = document["method"]
        known: dict[str, Any] = {"method": {name: method[name] for name in ("name", *TEXTS) if name in method}}
        stores = tuple(dict.fromkeys(document.get("stores", ())))
        if stores:
            known["stores"] = list(stores)
        flags = {name: document[name] for name in ("all_stores", "all_stores_must_succeed") if name in document}
        texts = {name: method[name] for name in TEXTS if name in method}
        return cls({**known, **flags}, method["name"], **texts, stores=stores, header_store=header_store, **flags)


@dataclass(frozen=True, slots=True)
class ImportInput:
    """The input of an import operation: the request, the stores to fill, and the image's formats at that moment."""

    image_id: str
    request: ImportRequest
    stores: tuple[str, ...]
    disk_format: str | None
    container_format: str | None

    def to_document(self) -> dict[str, Any]:
        """Return the form in which the registry keeps the input and a task shows it."""
        return {
            "image_id": self.image_id,
            "import_req": dict(self.request.document),
            "backend": list(self.stores),
            "disk_format": self.disk_format,
            "container_format": self.container_format,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read what ``to_document`` returned."""
        return cls(
            document["image_id"],
            ImportRequest.from_document(document["import_req"]),
            tuple(document["backend"]),
            document.get("disk_format"),
            document.get("container_format"),
        )
