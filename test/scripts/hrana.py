"""A small libSQL server for tests: Hrana over HTTP, version 2, of which it knows `execute`. It prints its
port. Streams are known by batons, as on the real server; the token is "secret"."""

import base64
import itertools
import json
import sqlite3
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

FILE = sys.argv[1]
streams = {}
batons = itertools.count()


def to_sql(value):
    kind = value["type"]
    if kind == "null":
        return None
    if kind == "integer":
        return int(value["value"])
    if kind == "blob":
        text = value["base64"]
        return base64.b64decode(text + "=" * (-len(text) % 4))
    return value["value"]


def to_json(value):
    if value is None:
        return {"type": "null"}
    if isinstance(value, int):
        return {"type": "integer", "value": str(value)}
    if isinstance(value, float):
        return {"type": "float", "value": value}
    if isinstance(value, bytes):
        return {"type": "blob", "base64": base64.b64encode(value).decode().rstrip("=")}
    return {"type": "text", "value": value}


def execute(stream, statement):
    try:
        found = stream.execute(statement["sql"], [to_sql(value) for value in statement["args"]])
        rows = [[to_json(cell) for cell in row] for row in found.fetchall()]
    except sqlite3.Error as error:
        return {"type": "error", "error": {"message": str(error)}}
    columns = [{"name": column[0]} for column in found.description or []]
    result = {
        "cols": columns,
        "rows": rows,
        "affected_row_count": max(found.rowcount, 0),
        "last_insert_rowid": str(found.lastrowid) if found.lastrowid else None,
    }
    return {"type": "ok", "response": {"type": "execute", "result": result}}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.headers["authorization"] != "Bearer secret":
            return self.answer(401, {"message": "who are you?"})
        if self.path != "/v2/pipeline":
            return self.answer(404, {"message": "no such path"})
        baton = body["baton"]
        stream = streams.pop(baton) if baton else sqlite3.connect(FILE, isolation_level=None)
        results = [execute(stream, request["stmt"]) for request in body["requests"]]
        baton = str(next(batons))
        streams[baton] = stream
        self.answer(200, {"baton": baton, "base_url": None, "results": results})

    def answer(self, status, value):
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
