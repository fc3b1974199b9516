"""The same component with Spin's own interfaces. It imports the whole of Spin's world, used or not."""

from urllib.parse import urlparse

import hello
from spin_sdk import key_value, variables
from spin_sdk.http import Request, Response


class HttpHandler(hello.HttpHandler):
    async def handle_request(self, request: Request) -> Response:
        path = urlparse(request.uri).path
        if path.endswith("/count"):
            with await key_value.open_default() as store:
                count = int(await store.get("count") or b"0") + 1
                await store.set("count", str(count).encode())
            return Response(200, {}, str(count).encode())
        if path.endswith("/greeting"):
            return Response(200, {}, (await variables.get("greeting")).encode())
        return await super().handle_request(request)
