"""stock: keeps the number of articles in the state store.

POST /reserve {"article": "apples"} takes one and answers what is left; 409 when
nothing is.
"""
import json
import os
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SIDECAR = f"http://127.0.0.1:{os.environ['DAPR_HTTP_PORT']}"
FIRST_DELIVERY = 100


def read(article):
    """The number in stock and the version that was read."""
    with urllib.request.urlopen(f"{SIDECAR}/v1.0/state/statestore/{article}") as answer:
        body = answer.read()
        return (json.loads(body) if body else FIRST_DELIVERY), answer.headers.get("ETag")


def write(article, number, etag):
    """Writes, unless somebody wrote since: then the sidecar answers 409."""
    item = {"key": article, "value": number, "options": {"concurrency": "first-write"}}
    if etag:
        item["etag"] = etag
    request = urllib.request.Request(
        f"{SIDECAR}/v1.0/state/statestore",
        json.dumps([item]).encode(),
        {"content-type": "application/json"},
        method="POST",
    )
    urllib.request.urlopen(request).close()


def reserve(article):
    while True:
        number, etag = read(article)
        if number == 0:
            return None
        try:
            write(article, number - 1, etag)
            return number - 1
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        order = json.loads(self.rfile.read(int(self.headers["content-length"])))
        left = reserve(order["article"])
        print(f"reserved one of {order['article']}, left: {left}", flush=True)
        self.answer(409 if left is None else 200, {"left": left})

    def do_GET(self):
        self.answer(404, {})

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ["APP_PORT"])), Handler).serve_forever()
