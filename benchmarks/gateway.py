"""The gateway beside a naive peer that does the same with FastAPI and httpx, in one run on one machine.

Ours is the whole service with its servers: every call is authenticated by an API key, routed to the worker that the
cache has announced, counted, and traced. The peer knows one key and one worker. Both stand between the same load
generator and the same echo model server; rounds alternate. It takes about 45 seconds.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import uvloop
from http_load import Result, free_port, post, report, serve_upstream, wait_ready

from model_engine_chassis.mongo import connect_mongo
from model_engine_chassis.redis_connection import connect_redis
from model_engine_chassis.settings_base import MongoSettings, RedisSettings
from model_engine_contracts.documents import (
    ENDPOINTS,
    BundleSnapshot,
    EndpointDocument,
    EndpointSpec,
    EndpointStatus,
    Resources,
    Scaling,
)
from model_engine_contracts.endpoint_states import EndpointType, Phase
from model_engine_contracts.events import EndpointObserved, ObservedWorker
from model_engine_contracts.observed import OBSERVED_COMPLETE, observed_key
from model_engine_local.servers import MongoServer, NatsServer, ValkeyServer

BODY = json.dumps({"args": {"text": "x" * 600, "numbers": list(range(80)), "options": {"a": 1, "b": None}}}).encode()
ENDPOINT = "end_bench"
ADMIN_TOKEN = "benchmark-admin-token"
ROUNDS = 3


def serve_peer(port: int, upstream: int) -> None:
    """What one writes first: a FastAPI route, a pooled httpx client, JSON decoded and encoded."""
    import uvicorn
    from fastapi import Depends, FastAPI
    from fastapi.responses import JSONResponse, StreamingResponse
    from fastapi.security import HTTPBearer

    from model_engine_contracts.api.tasks import SyncEndpointPredictV1Request

    app = FastAPI()
    client = httpx.AsyncClient(limits=httpx.Limits(max_connections=200), timeout=60)
    base = f"http://127.0.0.1:{upstream}"
    bearer = Depends(HTTPBearer())

    @app.get("/readyz")
    async def ready() -> str:
        return "OK"

    @app.post("/v1/sync-tasks")
    async def sync(model_endpoint_id: str, request: SyncEndpointPredictV1Request, key: Any = bearer) -> JSONResponse:
        answer = await client.post(f"{base}/predict", json=request.model_dump(exclude_none=True))
        return JSONResponse(
            {"status": "SUCCESS", "result": answer.json(), "traceback": None, "status_code": answer.status_code}
        )

    @app.post("/v1/streaming-tasks")
    async def streaming(
        model_endpoint_id: str, request: SyncEndpointPredictV1Request, key: Any = bearer
    ) -> StreamingResponse:
        async def events():
            async with client.stream("POST", f"{base}/stream", json=request.model_dump(exclude_none=True)) as answer:
                async for line in answer.aiter_lines():
                    if line.startswith("data: "):
                        event = {"status": "SUCCESS", "result": json.loads(line[6:]), "traceback": None}
                        yield f"data: {json.dumps(event | {'status_code': 200})}\r\n\r\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", loop="uvloop", http="httptools")


async def announce(mongo_url: str, redis_url: str, upstream: int) -> None:
    """Write the endpoint as the gateway does and its worker as the cache does."""
    now = datetime.now(UTC)
    document = EndpointDocument(
        _id=ENDPOINT,
        name="bench",
        owner="bench",
        created_by="bench",
        created_at=now,
        last_updated_at=now,
        version=1,
        generation=1,
        spec=EndpointSpec(
            endpoint_type=EndpointType.STREAMING,
            bundle=BundleSnapshot(id="bun_1", name="b", flavor="cloudpickle_artifact", flavor_json="{}"),
            resources=Resources(cpus=1, memory_bytes=1, cpus_given=1, memory_given=1),
            scaling=Scaling(min_workers=1, max_workers=1, per_worker=1, concurrent_requests_per_worker=1),
        ),
        status=EndpointStatus(phase=Phase.READY, serving_generation=1, since=now),
    )
    worker = ObservedWorker(id="w", revision="r", state="READY", address=f"127.0.0.1:{upstream}")
    observed = EndpointObserved(endpoint_id=ENDPOINT, epoch=1, counter=1, generation=1, replicas=1, workers=(worker,))
    database = connect_mongo(MongoSettings(mongo_url=mongo_url))
    redis = connect_redis(RedisSettings(redis_url=redis_url))
    await database[ENDPOINTS].insert_one(document.model_dump(by_alias=True))
    await redis.set(observed_key(ENDPOINT), observed.model_dump_json())
    await redis.set(OBSERVED_COMPLETE, "1")
    await redis.aclose()
    database.client.close()


def make_key(port: int) -> str:
    answer = httpx.post(
        f"http://127.0.0.1:{port}/v1/admin/api-keys",
        json={"owner": "bench"},
        headers={"authorization": f"Bearer {ADMIN_TOKEN}"},
    )
    answer.raise_for_status()
    return str(answer.json()["key"])


def main() -> None:
    """Start everything, measure, print the ratios."""
    upstream, own, peer = free_port(), free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        servers = [
            NatsServer(Path(folder, "nats")),
            MongoServer(Path(folder, "mongo")),
            ValkeyServer(Path(folder, "redis")),
        ]
        processes: dict[int, subprocess.Popen[bytes]] = {}
        try:
            for server in servers:
                server.start()
            nats, mongo, redis = (server.url for server in servers)
            asyncio.run(announce(mongo, redis, upstream))
            settings = {
                "ME_NATS_URL": nats,
                "ME_MONGO_URL": mongo,
                "ME_REDIS_URL": redis,
                "ME_PORT": str(own),
                "ME_ADMIN_TOKEN": ADMIN_TOKEN,
                "ME_ARTIFACT_URL_SECRET": "benchmark-artifact-secret",
                "ME_LOG_LEVEL": "WARNING",
            }
            me = [sys.executable, __file__]
            processes[upstream] = subprocess.Popen([*me, "upstream", str(upstream)])
            processes[own] = subprocess.Popen([sys.executable, "-m", "model_engine_gateway"], env=os.environ | settings)
            processes[peer] = subprocess.Popen([*me, "peer", str(peer), str(upstream)])
            for port in processes:
                wait_ready(port)
            headers = {"authorization": f"Bearer {make_key(own)}"}
            query = f"?model_endpoint_id={ENDPOINT}"
            results = {port: Result() for port in processes}
            for _ in range(ROUNDS):
                for port, process in processes.items():
                    call, stream = (
                        ("/predict", "/stream") if port == upstream else ("/v1/sync-tasks", "/v1/streaming-tasks")
                    )
                    results[port].add_round(
                        port,
                        psutil.Process(process.pid),
                        post(call + query, BODY, headers),
                        post(stream + query, BODY, headers),
                    )
            report("gateway", results[upstream], results[own], results[peer])
            memory = psutil.Process(processes[own].pid).memory_info().rss
            print(f"resident memory of the gateway: {memory / (1 << 20):.0f} MiB")
        finally:
            for process in processes.values():
                process.terminate()
            for process in processes.values():
                process.wait(40)
            for server in servers:
                server.kill()


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    elif sys.argv[1] == "upstream":
        uvloop.run(serve_upstream(int(sys.argv[2])))
    else:
        serve_peer(int(sys.argv[2]), int(sys.argv[3]))
