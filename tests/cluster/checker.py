"""Whether a cluster at rest holds what its clients were told: rows against objects, and both against the answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from glance_common.stores.place_mark import NAME
from tests.cluster import settings
from tests.cluster.cluster import Cluster
from tests.support.image_client import ImageClient
from tests.support.ledger import Content, Ledger
from tests.support.promises import broken_promises
from tests.support.promises_views import image_served
from tests.support.state import File, State


def broken(cluster: Cluster, ledger: Ledger) -> list[str]:
    """Return every broken promise; the cluster has to be settled."""
    state = _look(cluster)
    client = ImageClient(cluster.url, ledger)
    views = [fault for image in state.images for fault in image_served(client, image, state)]
    return [*broken_promises(state, ledger), *views]


def _look(cluster: Cluster) -> State:
    client = cluster.store.client()
    members: dict[str, dict[str, str]] = {}
    for row in cluster.query("SELECT * FROM members"):
        members.setdefault(str(row["image_id"]), {})[row["member"]] = row["status"]
    unfinished = client.list_multipart_uploads(Bucket=settings.BUCKET).get("Uploads", [])
    return State(
        images={str(row["id"]): row for row in cluster.query("SELECT * FROM images")},
        locations=cluster.query("SELECT * FROM locations"),
        operations=cluster.query("SELECT * FROM operations ORDER BY created_at, id"),
        members=members,
        files={(settings.STORE, key): _read(client, key) for key in _keys(client) if key != NAME},
        staged={},
        unfinished=[f"{settings.STORE}: {upload['Key']}" for upload in unfinished],
    )


def _keys(client: Any) -> Iterator[str]:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=settings.BUCKET):
        for entry in page.get("Contents", []):
            yield entry["Key"]


def _read(client: Any, key: str) -> File:
    data = client.get_object(Bucket=settings.BUCKET, Key=key)["Body"].read()
    return File(Content.of(data), hashlib.md5(data, usedforsecurity=False).hexdigest())
