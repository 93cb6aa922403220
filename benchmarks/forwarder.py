"""The forwarder beside a naive peer that does the same with FastAPI and httpx, in one run on one machine.

Both stand between the same load generator and the same echo model server. Calls per CPU second count the CPU time of
the proxy alone, so they hold on a busy machine too. Rounds of ours and the peer alternate. It takes about 35 seconds.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import uvloop
from http_load import Result, free_port, post, report, serve_upstream, wait_ready

BODY = json.dumps({"args": {"text": "x" * 200, "numbers": list(range(40)), "options": {"a": 1, "b": None}}}).encode()
ROUNDS = 3


def serve_peer(port: int, upstream: int) -> None:
    """What one writes first: a FastAPI route, a pooled httpx client, JSON decoded and encoded."""
    import httpx
    import uvicorn
    from fastapi import FastAPI
    from fastapi.responses import JSONResponse, StreamingResponse
    from pydantic import BaseModel

    class Request(BaseModel):
        args: dict | list | str | None = None
        url: str | None = None

    app = FastAPI()
    client = httpx.AsyncClient(limits=httpx.Limits(max_connections=200), timeout=60)
    base = f"http://127.0.0.1:{upstream}"

    @app.get("/readyz")
    async def ready() -> str:
        return "OK"

    @app.post("/predict")
    async def predict(request: Request) -> JSONResponse:
        answer = await client.post(f"{base}/predict", json=request.args)
        return JSONResponse({"result": json.dumps(answer.json())}, status_code=answer.status_code)

    @app.post("/stream")
    async def stream(request: Request) -> StreamingResponse:
        async def events():
            async with client.stream("POST", f"{base}/stream", json=request.args) as answer:
                async for line in answer.aiter_lines():
                    if line.startswith("data: "):
                        yield f"data: {json.dumps({'result': json.loads(line[6:])})}\r\n\r\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", loop="uvloop", http="httptools")


def write_config(path: Path, upstream: int) -> None:
    """A forwarder of the echo server."""
    place = {"user_port": upstream, "user_hostname": "127.0.0.1"}
    sync, stream = {**place, "forward_http_status": True}, {**place, "predict_route": "/stream"}
    path.write_text(json.dumps({"forwarder": {"sync": sync, "stream": stream, "drain_delay_seconds": 0}}))


def main() -> None:
    """Run everything and print the ratios."""
    upstream, own, peer = free_port(), free_port(), free_port()
    me = [sys.executable, __file__]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "forwarder.json")
        write_config(config, upstream)
        forward = [sys.executable, "-m", "model_engine_forwarder", "--config", str(config), "--num-workers", "1"]
        commands = {
            upstream: [*me, "upstream", str(upstream)],
            own: [*forward, "--host", "127.0.0.1", "--port", str(own)],
            peer: [*me, "peer", str(peer), str(upstream)],
        }
        running = {port: psutil.Popen(command) for port, command in commands.items()}
        try:
            results = {port: Result() for port in running}
            for port in running:
                wait_ready(port)
            for _ in range(ROUNDS):
                for port, process in running.items():
                    results[port].add_round(port, process, post("/predict", BODY), post("/stream", BODY))
            memory = running[own].memory_info().rss
            report("forwarder", results[upstream], results[own], results[peer])
            print(f"resident memory of the forwarder: {memory / (1 << 20):.0f} MiB")
        finally:
            stop(running.values())


def stop(processes) -> None:
    """End every process, at once where it does not end by itself."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(5)
        except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
            process.kill()


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    elif sys.argv[1] == "upstream":
        uvloop.run(serve_upstream(int(sys.argv[2])))
    else:
        serve_peer(int(sys.argv[2]), int(sys.argv[3]))
