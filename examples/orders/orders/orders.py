"""orders: a customer comes every two seconds (cron binding) and orders.

For each, it reserves an article at `stock` (service invocation), "pays" with a
key from the secret store, saves the order (state) and tells everybody (pub/sub).
GET /orders/ID answers a saved order.
"""
import itertools
import json
import os
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SIDECAR = f"http://127.0.0.1:{os.environ['DAPR_HTTP_PORT']}/v1.0"
ARTICLES = itertools.cycle(["apples", "pears", "plums"])
NUMBERS = itertools.count(1)


def call(method, path, value=None):
    """One request to the sidecar; the answer's JSON, or nothing."""
    body = None if value is None else json.dumps(value).encode()
    request = urllib.request.Request(SIDECAR + path, body, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request) as answer:
        text = answer.read()
        return json.loads(text) if text else None


def place_order():
    order = {"id": next(NUMBERS), "article": next(ARTICLES)}
    left = call("POST", "/invoke/stock/method/reserve", order)["left"]
    key = call("GET", "/secrets/secrets/payment-key")["payment-key"]
    call("POST", "/state/statestore", [{"key": f"order-{order['id']}", "value": order}])
    call("POST", "/publish/pubsub/placed", {"id": order["id"]})
    print(f"order {order['id']}: {order['article']} ({left} left), paid with a key of {len(key)} letters", flush=True)


class Handler(BaseHTTPRequestHandler):
    def do_OPTIONS(self):
        # The sidecar asks whether the binding is wanted.
        self.answer(200 if self.path == "/customer" else 404)

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path != "/customer":
            return self.answer(404)
        try:
            place_order()
        except urllib.error.URLError as error:
            # For example while another application is still starting.
            print(f"the customer left: {error}", flush=True)
        self.answer(200)

    def do_GET(self):
        if not self.path.startswith("/orders/"):
            return self.answer(404)
        order = call("GET", f"/state/statestore/order-{self.path.removeprefix('/orders/')}")
        self.answer(200 if order else 404, order)

    def answer(self, status, value=None):
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ["APP_PORT"])), Handler).serve_forever()
