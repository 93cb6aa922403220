"""The servers that a local platform and the tests run: NATS, MongoDB and Valkey, as processes on 127.0.0.1."""

from model_engine_local.servers.binaries import BinaryNotFound, MissingLibrary
from model_engine_local.servers.embedded_server import EmbeddedServer, ServerStartFailed
from model_engine_local.servers.mongo_server import MongoServer
from model_engine_local.servers.nats_server import NatsServer
from model_engine_local.servers.valkey_server import ValkeyServer

__all__ = [
    "BinaryNotFound",
    "EmbeddedServer",
    "MissingLibrary",
    "MongoServer",
    "NatsServer",
    "ServerStartFailed",
    "ValkeyServer",
]
