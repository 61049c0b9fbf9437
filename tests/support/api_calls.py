"""Calls of the API as users behind a proxy that has told who they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse


@dataclass
class Caller:
    """The application; ``call`` speaks as a user of ``project`` with ``roles``."""

    app: Flask

    def call(
        self,
        method: str,
        path: str,
        *,
        project: str | None = "own",
        roles: str = "member,reader",
        headers: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> TestResponse:
        """Return the answer, read to the end and closed, as a server does it."""
        identity = {"X-Identity-Status": "Confirmed", "X-User-Id": "someone", "X-Roles": roles}
        if project is not None:
            identity["X-Project-Id"] = project
        return self.app.test_client().open(
            path, method=method, headers={**identity, **(headers or {})}, buffered=True, **kwargs
        )
