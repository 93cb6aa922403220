"""A model server on port 5005 for the test of the standalone command: JSON, or events where `stream` is true."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Ready on /health and /readyz; says which path it was called on."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(200 if self.path in ("/health", "/readyz") else 404, b"{}")

    def do_POST(self) -> None:
        args = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if args.get("stream"):
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(b'data: {"token":"hello"}\n\n')
            self.wfile.write(b"data: [DONE]\n\n")
        else:
            self.answer(200, json.dumps({"path": self.path, "keys": len(args)}).encode())

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


ThreadingHTTPServer(("127.0.0.1", 5005), Handler).serve_forever()
