"""A component by componentize-py and Spin's SDK, which speaks wasi:http 0.3."""

from urllib.parse import parse_qs, urlparse

from spin_sdk import http
from spin_sdk.http import Request, Response


class HttpHandler(http.Handler):
    async def handle_request(self, request: Request) -> Response:
        url = urlparse(request.uri)
        if url.path.endswith("/call"):
            target = parse_qs(url.query)["url"][0]
            answered = await http.send(Request("GET", target, {}, None))
            return Response(200, {}, f"{answered.status} ".encode() + (answered.body or b""))
        if request.method == "POST":
            return Response(200, {}, (request.body or b"").upper())
        return Response(200, {"content-type": "text/plain"}, b"Hello from Python\n")
