"""The tool that people move objects with when there is no image service: one for each kind of store.

    python -m tests.benchmarks.stores.tool KIND OPTIONS

runs as a process of its own. OPTIONS is a JSON object. The process says ``ready``, reads one line for each thing to
do (``upload KEY FILE``, ``download KEY``, ``send KEY PORT``, ``first KEY OFFSET``, ``remove KEY``), and answers with
the seconds it took.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from deploy.local.processes import LOOPBACK

PIECE = 1 << 20


class Tool(Protocol):
    """Moves whole objects, as fast as its library does by default."""

    def upload(self, key: str, payload: Path) -> None:
        """Store a file."""

    def download(self, key: str) -> None:
        """Read an object and throw it away."""

    def send(self, key: str, sink: Any) -> None:
        """Read an object and write it into ``sink``, in order."""

    def first(self, key: str, offset: int) -> None:
        """Read the first byte from ``offset`` on."""

    def remove(self, key: str) -> None:
        """Remove an object."""


class Sink:
    """A file that forgets what is written; several threads may write at once."""

    def write(self, data: bytes) -> int:
        """Forget the data."""
        return len(data)

    def seek(self, offset: int, _whence: int = 0) -> int:
        """Go anywhere."""
        return offset

    def seekable(self) -> bool:
        """Say that pieces may come in any order, as into a file."""
        return True


class S3Tool:
    """boto3 with its own settings: parts of 8 MiB, 10 threads."""

    def __init__(self, url: str, access: str, secret: str, bucket: str) -> None:
        import boto3
        from botocore.config import Config

        self._bucket = bucket
        self._client: Any = boto3.session.Session().client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id=access, aws_secret_access_key=secret,
            config=Config(s3={"addressing_style": "path"}, proxies={}),
        )

    def upload(self, key: str, payload: Path) -> None:
        """See Tool."""
        with payload.open("rb") as file:
            self._client.upload_fileobj(file, self._bucket, key)

    def download(self, key: str) -> None:
        """See Tool."""
        self._client.download_fileobj(self._bucket, key, Sink())

    def send(self, key: str, sink: Any) -> None:
        """See Tool."""
        self._client.download_fileobj(self._bucket, key, sink)

    def first(self, key: str, offset: int) -> None:
        """See Tool."""
        body = self._client.get_object(Bucket=self._bucket, Key=key, Range=f"bytes={offset}-")["Body"]
        body.read(1)
        body.close()

    def remove(self, key: str) -> None:
        """See Tool."""
        self._client.delete_object(Bucket=self._bucket, Key=key)


class GridfsTool:
    """pymongo's own loop over the chunks."""

    def __init__(self, url: str, database: str) -> None:
        import gridfs
        import pymongo

        client: Any = pymongo.MongoClient(url)
        self._bucket = gridfs.GridFSBucket(client[database])

    def upload(self, key: str, payload: Path) -> None:
        """See Tool."""
        with payload.open("rb") as file:
            self._bucket.upload_from_stream_with_id(key, key, file)

    def download(self, key: str) -> None:
        """See Tool."""
        with self._bucket.open_download_stream(key) as stream:
            while stream.read(PIECE):
                pass

    def send(self, key: str, sink: Any) -> None:
        """See Tool."""
        with self._bucket.open_download_stream(key) as stream:
            while piece := stream.read(PIECE):
                sink.write(piece)

    def first(self, key: str, offset: int) -> None:
        """See Tool."""
        with self._bucket.open_download_stream(key) as stream:
            stream.seek(offset)
            stream.read(1)

    def remove(self, key: str) -> None:
        """See Tool."""
        self._bucket.delete(key)


class RbdTool:
    """``rbd import`` and ``rbd export``."""

    def __init__(self, conf: str, user: str, pool: str) -> None:
        self._rbd = ["rbd", "--conf", conf, "--id", user, "--no-progress"]
        self._pool = pool

    def upload(self, key: str, payload: Path) -> None:
        """See Tool."""
        subprocess.run([*self._rbd, "import", payload, f"{self._pool}/{key}"], check=True)

    def download(self, key: str) -> None:
        """See Tool."""
        with Path(os.devnull).open("wb") as nothing:
            self.send(key, nothing)

    def send(self, key: str, sink: Any) -> None:
        """See Tool."""
        subprocess.run([*self._rbd, "export", f"{self._pool}/{key}", "-"], check=True, stdout=sink)

    def first(self, key: str, offset: int) -> None:
        """Do nothing: the tool exports whole images."""

    def remove(self, key: str) -> None:
        """See Tool."""
        subprocess.run([*self._rbd, "rm", f"{self._pool}/{key}"], check=True)


class CinderTool:
    """A new volume that is attached to this host, plain reads and writes of it, and its end."""

    def __init__(self, address: str, user: str, project: str, kind: str, locks: str) -> None:
        from cinderclient.api_versions import APIVersion
        from cinderclient.v3.client import Client
        from keystoneauth1.identity.v3 import Password
        from keystoneauth1.session import Session

        from glance_common.stores.drivers.cinder import brick

        connectors: Any = brick.library(lock_path=locks)
        login = Password(
            address, username=user, password=user, project_name=project, user_domain_name="Default",
            project_domain_name="Default",
        )
        self._cinder: Any = Client(session=Session(auth=login), api_version=APIVersion("3.54"))
        self._connector: Any = connectors.InitiatorConnector.factory("rbd", "")
        self._host: Any = connectors.get_connector_properties("", "127.0.0.1", False, False)
        self._kind = kind
        self._volumes: dict[str, str] = {}
        self._sizes: dict[str, int] = {}

    def upload(self, key: str, payload: Path) -> None:
        """See Tool."""
        size = self._sizes[key] = payload.stat().st_size
        gib = -(-size >> 30)
        volume = self._volumes[key] = self._cinder.volumes.create(gib, name=key, volume_type=self._kind).id
        while self._cinder.volumes.get(volume).status != "available":
            time.sleep(0.1)
        with payload.open("rb") as source, self._attached(volume, "rw") as disk:
            while piece := source.read(4 * PIECE):
                disk.write(piece)
            disk.flush()

    def download(self, key: str) -> None:
        """See Tool."""
        with self._attached(self._volumes[key], "ro") as disk:
            for at in range(0, self._sizes[key], 4 * PIECE):
                disk.read(min(4 * PIECE, self._sizes[key] - at))

    def send(self, key: str, sink: Any) -> None:
        """See Tool."""
        with self._attached(self._volumes[key], "ro") as disk:
            for at in range(0, self._sizes[key], 4 * PIECE):
                sink.write(disk.read(min(4 * PIECE, self._sizes[key] - at)))

    def first(self, key: str, offset: int) -> None:
        """See Tool."""
        with self._attached(self._volumes[key], "ro") as disk:
            disk.seek(offset)
            disk.read(1)

    def remove(self, key: str) -> None:
        """See Tool."""
        self._cinder.volumes.delete(self._volumes[key])

    @contextmanager
    def _attached(self, volume: str, mode: str) -> Iterator[Any]:
        attachment = self._cinder.attachments.create(volume, None, None, mode=mode)["id"]
        info = self._cinder.attachments.update(attachment, self._host).connection_info
        device = self._connector.connect_volume(info)
        self._cinder.attachments.complete(attachment)
        yield device["path"]
        self._connector.disconnect_volume(info, device)
        self._cinder.attachments.delete(attachment)


class VmwareTool:
    """A plain PUT and GET of files at ``/folder``, with the cookie of one session."""

    def __init__(
        self, address: str, ca: str, user: str, password: str, datacenter: str, datastore: str, directory: str
    ) -> None:
        import ssl

        import requests
        from pyVmomi import vim
        from pyVmomi.SoapAdapter import SoapStubAdapter

        host, port = address.split(":")
        line: Any = SoapStubAdapter(
            host, int(port), version="vim.version.version10", sslContext=ssl.create_default_context(cafile=ca)
        )
        sessions: Any = vim.ServiceInstance("ServiceInstance", line).RetrieveContent().sessionManager
        sessions.Login(user, password, None)
        self._url = f"https://{address}/folder/{directory}"
        self._place = {"dcPath": datacenter, "dsName": datastore}
        self._headers = {"Cookie": line.cookie}
        self._session = requests.Session()
        # The environment may name other authorities.
        self._session.trust_env = False
        self._session.verify = ca

    def upload(self, key: str, payload: Path) -> None:
        """See Tool."""
        with payload.open("rb") as file:
            self._ask("PUT", key, data=file).close()

    def download(self, key: str) -> None:
        """See Tool."""
        self.send(key, Sink())

    def send(self, key: str, sink: Any) -> None:
        """See Tool."""
        with self._ask("GET", key) as answer:
            while piece := answer.raw.read(PIECE):
                sink.write(piece)

    def first(self, key: str, offset: int) -> None:
        """See Tool."""
        with self._ask("GET", key, {"Range": f"bytes={offset}-"}) as answer:
            answer.raw.read(1)

    def remove(self, key: str) -> None:
        """Make the file empty: only a task of the server removes files."""
        self._ask("PUT", key, data=b"").close()

    def _ask(self, method: str, key: str, headers: dict[str, str] | None = None, data: Any = None) -> Any:
        answer = self._session.request(
            method, f"{self._url}/{key}", params=self._place, headers={**self._headers, **(headers or {})}, data=data,
            stream=True,
        )
        answer.raise_for_status()
        return answer


class SwiftTool:
    """What ``swift upload`` and ``swift download`` do; the download computes an MD5, as they do."""

    def __init__(self, url: str, user: str, key: str, project: str, container: str) -> None:
        from swiftclient.client import Connection
        from swiftclient.service import SwiftService

        options = {
            "auth": url, "user": user, "key": key, "auth_version": "3", "os_project_name": project,
            "os_user_domain_name": "Default", "os_project_domain_name": "Default",
        }
        self._container = container
        self._service: Any = SwiftService(options)
        self._connection: Any = Connection(
            authurl=url, user=user, key=key, auth_version="3", tenant_name=project,
            os_options={"user_domain_name": "Default", "project_domain_name": "Default"},
        )
        self._connection.put_container(container)

    def upload(self, key: str, payload: Path) -> None:
        """See Tool."""
        from swiftclient.service import SwiftUploadObject

        self._end(self._service.upload(self._container, [SwiftUploadObject(str(payload), object_name=key)]))

    def download(self, key: str) -> None:
        """See Tool."""
        self._end(self._service.download(self._container, [key], {"no_download": True}))

    def send(self, key: str, sink: Any) -> None:
        """See Tool."""
        for result in self._service.download(self._container, [key], {"out_file": "-"}):
            for piece in result["contents"]:
                sink.write(piece)

    def first(self, key: str, offset: int) -> None:
        """See Tool."""
        headers = {"Range": f"bytes={offset}-"}
        body = self._connection.get_object(self._container, key, resp_chunk_size=1, headers=headers)[1]
        next(body)
        self._connection.close()

    def remove(self, key: str) -> None:
        """See Tool."""
        self._end(self._service.delete(self._container, [key]))

    def _end(self, results: Iterable[dict[str, Any]]) -> None:
        for result in results:
            if not result["success"]:
                raise RuntimeError(f"{result['action']}: {result.get('error')}")


TOOLS: dict[str, type[Any]] = {
    "s3": S3Tool, "gridfs": GridfsTool, "rbd": RbdTool, "swift": SwiftTool, "cinder": CinderTool,
    "vmware": VmwareTool,
}  # fmt: skip


def main() -> int:
    kind, options = sys.argv[1:]
    tool: Tool = TOOLS[kind](**json.loads(options))
    print("ready", flush=True)
    for line in sys.stdin:
        action, key, *more = line.split()
        began = time.monotonic()
        if action == "upload":
            tool.upload(key, Path(more[0]))
        elif action == "download":
            tool.download(key)
        elif action == "send":
            with socket.create_connection((LOOPBACK, int(more[0]))) as client, client.makefile("wb", 0) as sink:
                tool.send(key, sink)
        elif action == "first":
            tool.first(key, int(more[0]))
        else:
            tool.remove(key)
        print(time.monotonic() - began, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
