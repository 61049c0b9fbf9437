"""A real S3 server: SeaweedFS from its wheel, strict about signatures, parts and conditions; http and https."""

from __future__ import annotations

import json
import signal
import subprocess
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from deploy.local import processes

from tests.servers.s3 import Buckets, S3Keys, new_keys, s3_client
from tests.support import environments
from tests.support.certificates import server_certificate

_START_SECONDS = 300
_PORTS = (
    "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc", "s3.port",
    "s3.port.grpc", "s3.port.https",
)


class SeaweedFS:
    """One server with all its files in ``folder``, without buckets; it starts again with its data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = {name: processes.free_port() for name in _PORTS}
        self.port = self._ports["s3.port"]
        self.tls_port = self._ports["s3.port.https"]
        self.url = f"http://{processes.LOOPBACK}:{self.port}"
        self.tls_url = f"https://localhost:{self.tls_port}"
        self.keys, self.other_keys, self.reader_keys = new_keys(), new_keys(), new_keys()
        """Two users who may do everything, and one who may read."""
        self._buckets = Buckets()
        self._log = folder / "seaweedfs.log"
        (folder / "data").mkdir()
        (folder / "s3.json").write_text(json.dumps({"identities": [
            _user("images", self.keys, ["Admin"]),
            _user("rotated", self.other_keys, ["Admin"]),
            _user("reader", self.reader_keys, ["Read", "List"]),
        ]}))
        self.authority, _ = server_certificate(folder, "localhost")
        """The file of the certificate to trust for https."""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it keeps data. Raises StartError."""
        program = environments.environment(environments.SEAWEEDFS) / "bin" / "weed"
        ports = [part for name, port in self._ports.items() for part in (f"-{name}", str(port))]
        sockets = [f"-{part}.localSocket={self.folder / part}.sock" for part in ("filer", "s3")]
        with self._log.open("ab") as log:
            self._process = processes.spawn(
                [
                    program, "server", "-dir", self.folder / "data", "-ip", processes.LOOPBACK,
                    "-ip.bind", processes.LOOPBACK, "-metricsPort", "0", "-master.volumeSizeLimitMB", "1024",
                    "-master.telemetry=false", "-master.electionTimeout", "1s", "-master.heartbeatInterval", "300ms",
                    "-volume.max", "100", "-volume.preStopSeconds", "0", "-filer", "-s3", "-s3.port.iceberg", "0",
                    "-s3.port.lance", "0", "-s3.cert.file", self.folder / "localhost.crt",
                    "-s3.key.file", self.folder / "localhost.key", "-s3.config", self.folder / "s3.json",
                    *ports, *sockets,
                ],
                output=log, env={"GOMEMLIMIT": "400MiB", "GOGC": "50", "HOME": str(self.folder)}, cwd=self.folder,
                death_signal=signal.SIGKILL,
            )
        processes.wait_until(
            self._keeps_data, what="SeaweedFS", process=self._process, log=self._log, seconds=_START_SECONDS
        )

    def stop(self) -> None:
        """End the server. Its own end would take 15 seconds; nothing is lost without it."""
        if self._process is not None:
            processes.kill_group(self._process)
            self._process = None
        for part in ("master", "volume", "filer", "s3"):
            Path(f"/tmp/seaweedfs-{part}-grpc-{self._ports[f'{part}.port.grpc']}.sock").unlink(missing_ok=True)

    def client(self) -> Any:
        """Return a boto3 client that may do everything."""
        return s3_client(self.url, self.keys)

    def bucket(self) -> AbstractContextManager[str]:
        """Give the name of an empty bucket for the block."""
        return self._buckets.one(self.client())

    def _keeps_data(self) -> bool:
        """The S3 port answers some seconds before there is a place for data."""
        from botocore.exceptions import BotoCoreError, ClientError

        client = self.client()
        try:
            with suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
                client.create_bucket(Bucket="start-probe")
            client.put_object(Bucket="start-probe", Key="probe", Body=b"data")
            return bool(client.get_object(Bucket="start-probe", Key="probe")["Body"].read() == b"data")
        except (BotoCoreError, ClientError):
            return False


def _user(name: str, keys: S3Keys, actions: list[str]) -> dict[str, Any]:
    credentials = [{"accessKey": keys.access, "secretKey": keys.secret}]
    return {"name": name, "credentials": credentials, "actions": actions}
