"""The sandbox as a real process, a webhook receiver that records, and the control face's client."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

KEY = "sk_test_sandbox_0123456789"
SECRET = "whsec_sandbox_0123456789"


def until(check, seconds=20.0):
    """Return what `check` returns once it is true, or fail loudly."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := check():
            return found
        time.sleep(0.02)
    raise AssertionError(f"never became true within {seconds} s")


class Sandbox:
    """One sandbox process over one state file; `start` again after `kill` is a restart."""

    def __init__(self, folder, webhook_url=None, extra=()):
        self.state = folder / "sandbox.db"
        self.command = [
            sys.executable,
            "-m",
            "redoubt.payments.sandbox",
            "--state",
            str(self.state),
            "--api-key-ref",
            "env:SB_KEY",
        ]
        if webhook_url:
            self.command += ["--webhook-url", webhook_url, "--webhook-secret-ref", "env:SB_SECRET"]
        self.command += extra
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, trust_env=False, timeout=20)
        self.start()

    def start(self):
        environment = {**os.environ, "SB_KEY": KEY, "SB_SECRET": SECRET}
        self.process = subprocess.Popen(
            [*self.command, "--port", str(self.port)], env=environment, stdout=subprocess.PIPE
        )
        assert json.loads(self.process.stdout.readline()) == {"url": self.url}
        until(self._healthy)

    def _healthy(self):
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/healthz", trust_env=False).text == "ok"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self):
        self.process.terminate()
        code = self.process.wait(timeout=15)
        self.process.stdout.close()
        self.http.close()
        return code

    def control(self, path, **body):
        answer = self.http.post(f"/_sandbox/{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def fault(self, kind, operation="*", **options):
        return self.control("faults", kind=kind, operation=operation, **options)

    def objects(self, kind=None, **filters):
        params = {**({"type": kind} if kind else {}), **filters}
        return self.http.get("/_sandbox/objects", params=params).json()["objects"]

    def calls(self, operation=None):
        return self.http.get("/_sandbox/calls", params={"operation": operation} if operation else {}).json()[
            "calls"
        ]

    def deliveries(self):
        return self.http.get("/_sandbox/deliveries").json()

    def post(self, path, data=None, **headers):
        return self.http.post(path, data=data or {}, headers={"Authorization": f"Bearer {KEY}", **headers})

    def get(self, path, **params):
        return self.http.get(path, params=params, headers={"Authorization": f"Bearer {KEY}"})


class Receiver:
    """An endpoint that records each delivery and answers what `answers` says, then 200."""

    def __init__(self):
        self.seen, self.answers, self.lock = [], [], threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with outer.lock:
                    status = outer.answers.pop(0) if outer.answers else 200
                    outer.seen.append((dict(self.headers), body, status))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/webhooks/stripe"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def events(self, *kinds):
        found = [json.loads(body) for _, body, status in self.seen if status == 200]
        return [event for event in found if not kinds or event["type"] in kinds]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
