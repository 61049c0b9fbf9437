"""The plugin that does nothing: to see in the log that plugins run."""

import logging
from pathlib import Path
from typing import ClassVar

from glance_api.imports.contract import ImageFacts, ImportChanges, Work

LOG = logging.getLogger(__name__)


class NoOp:
    """``no_op``; fulfils ``contract.Plugin``."""

    name: ClassVar[str] = "no_op"

    def apply(self, image: ImageFacts, path: Path, work: Work) -> ImportChanges:  # noqa: ARG002 - part of the protocol
        """Change nothing."""
        LOG.info("plugin no_op ran for image %s", image.id)
        return ImportChanges()
