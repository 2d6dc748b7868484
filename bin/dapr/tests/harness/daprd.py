# Stand-in for the sidecar: metadata, shutdown, one application's answers.
import http.server, json, os, signal, socket, socketserver, sys, threading

if "--version" in sys.argv:
    print("1.18.3")
    sys.exit(0)

flags, rest = {}, sys.argv[1:]
while rest:
    name = rest.pop(0)
    flags[name] = rest.pop(0) if rest and not rest[0].startswith("--") else ""

print("stand-in args:", " ".join(sys.argv[1:]), flush=True)
extended = {}


class Handler(http.server.BaseHTTPRequestHandler):
    def body(self):
        return self.rfile.read(int(self.headers.get("content-length") or 0)).decode()

    def answer(self, status, text=""):
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self):
        if self.path == "/v1.0/metadata":
            return self.answer(200, json.dumps({"id": flags["--app-id"], "extended": extended}))
        self.do_POST()

    def do_PUT(self):
        extended[self.path.rsplit("/", 1)[1]] = self.body()
        self.answer(204)

    def do_POST(self):
        body = self.body()
        if self.path == "/v1.0/shutdown":
            self.answer(204)
            os._exit(0)
        if self.path.endswith("/missing"):
            return self.answer(404)
        print("stand-in request:", self.command, self.path, self.headers.get("content-type"), body, flush=True)
        self.answer(204 if "/publish/" in self.path else 200, "" if "/publish/" in self.path else "got " + body)

    def log_message(self, *_):
        pass

    def address_string(self):
        return "-"


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    pass


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
if "--unix-domain-socket" in flags:
    base = "%s/dapr-%s-" % (flags["--unix-domain-socket"], flags["--app-id"])
    other = socket.socket(socket.AF_UNIX)
    other.bind(base + "grpc.socket")
    server = UnixServer(base + "http.socket", Handler)
else:
    other = socket.create_server(("0.0.0.0", int(flags["--dapr-grpc-port"])))
    server = http.server.ThreadingHTTPServer(("0.0.0.0", int(flags["--dapr-http-port"])), Handler)
    print("HTTP server is running on port", flags["--dapr-http-port"], flush=True)
other.listen()
server.serve_forever()
