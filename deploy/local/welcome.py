"""The text with which ``run-local`` says that everything runs, where things are, and what to try."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from deploy.local import ports, services
from deploy.local.place import Place

_TEXT = """\

Ready after {seconds:.1f} s. Ctrl-C stops everything; the next start finds the data again.

  API        {api}   (no authentication: every caller is an administrator)
  registry   {registry}
  metrics    {metrics}
  stores     {store} (default) in {images}
             {second} in {archive}
  data       {root}   (database, stores, delete queue)
  settings   {settings}
  logs       {logs}

Paste into another terminal. Once, to have the clients:

    {python} -m venv {clients}
    {clients}/bin/pip install -q python-openstackclient python-glanceclient

In each terminal, for them:

    export PATH={clients}/bin:$PATH OS_AUTH_TYPE=none OS_ENDPOINT={api}

An image, and a copy of it in the second store:

    truncate -s 10M example.raw
    ID=$(openstack image create --disk-format raw --file example.raw my-image -f value -c id)
    openstack image import --method copy-image --store {second} --wait $ID
    openstack image list
    openstack image stores list
    glance --os-auth-type password --os-auth-token x --os-image-url {api} stores-info

The same without clients:

    ID=$(cat /proc/sys/kernel/random/uuid)
    curl -s {api}/v2/images -H 'Content-Type: application/json' \\
         -d '{{"id": "'$ID'", "name": "first", "disk_format": "raw", "container_format": "bare"}}'
    curl -sT example.raw -H 'Content-Type: application/octet-stream' {api}/v2/images/$ID/file
    curl -so example-copy.raw {api}/v2/images/$ID/file
    curl -sX DELETE {api}/v2/images/$ID

From here on one line for each request; everything else is in the logs (--verbose shows it here).
"""


def text(place: Place, listening: ports.Ports, seconds: float) -> str:
    """Return the text for an installation in ``place`` whose start took ``seconds``."""
    return _TEXT.format(
        seconds=seconds,
        api=listening.api_url,
        registry=listening.registry_url,
        metrics="\n             ".join(
            f"{listening.metrics_url(program)}/metrics   ({program})" for program in ports.METRICS
        ),
        store=services.STORE,
        second=services.SECOND_STORE,
        images=place.images,
        archive=place.archive,
        root=place.root,
        settings=place.settings,
        logs=place.logs,
        python=_quoted(Path(sys.executable)),
        clients=_quoted(place.root / "clients"),
    )


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
