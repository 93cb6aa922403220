"""A model server for tests of workers: the standard library only; its faults are in its environment."""

import http.server
import json
import os
import subprocess
import sys
import threading
import time

PORT = int(os.environ["PORT"])
HELD = []
FAULT = os.environ.get("FAKE_FAULT", "")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):  # the name is the base class's
        self.answer(500 if FAULT == "unhealthy" else 200, b"")
        if FAULT == "crash":
            threading.Timer(0.7, die).start()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        said = {"pid": os.getpid(), "env": dict(os.environ), "cwd": os.getcwd(), "body": json.loads(body)}
        self.answer(200, json.dumps({"result": said}).encode())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve(port):
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def die():
    print("a last line", flush=True)
    os._exit(7)


print("the model starts", flush=True)
print(os.environ.get("FAKE_SAYS", ""), flush=True)
match FAULT:
    case "exit":
        print("the reason is here", flush=True)
        sys.exit(3)
    case "import":
        with open(os.environ["ME_TERMINATION_FILE"], "w") as file:
            json.dump({"code": "IMPORT_ERROR", "message": "No module named 'nowhere'", "traceback": "…"}, file)
        sys.exit(1)
    case "silent":
        time.sleep(1000)
    case "elsewhere":
        serve(0)
    case "hungry":
        threading.Timer(0.5, lambda: HELD.append(b"x" * (300 << 20))).start()
    case "daemon":
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
serve(PORT)
