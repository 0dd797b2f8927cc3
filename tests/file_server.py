"""A web server of this machine's that serves a folder, and misbehaves where it is told to."""

import threading
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(SimpleHTTPRequestHandler):
    """Serves files; server.misbehave maps a path to what to do with its next requests."""

    def do_GET(self):
        """Answer a request for a file."""
        self.server.requests[self.path] += 1
        ways = self.server.misbehave.get(self.path, [])
        way = ways.pop(0) if ways else "answer"
        if isinstance(way, int):
            return self.send_error(way)
        if way == "answer":
            time.sleep(self.server.delay)
            return super().do_GET()
        content = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        if way == "stall":
            self.wfile.flush()
            self.server.ended.wait(60)

    def do_HEAD(self):
        """Answer a request about a file."""
        if isinstance(way := self.server.misbehave.get(f"HEAD {self.path}"), int):
            return self.send_error(way)
        return super().do_HEAD()

    def log_message(self, *args):
        """Say nothing."""


@contextmanager
def serve(folder):
    """Serve a folder: server.url, requests (counted by path), misbehave and delay, in seconds."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.requests, server.misbehave, server.delay, server.ended = Counter(), {}, 0, threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
