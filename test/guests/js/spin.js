// A component with Spin's SDK for JavaScript of 2024. What hello.js does, and a store and a variable by the SDK.
import { openDefault } from "@fermyon/spin-sdk/lib/keyValue.js";
import { get } from "@fermyon/spin-sdk/lib/variables.js";

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const url = new URL(request.url);
  if (url.pathname.endsWith("/count")) {
    const store = openDefault();
    const count = (store.exists("count") ? store.getJson("count") : 0) + 1;
    store.setJson("count", count);
    return new Response(String(count));
  }
  if (url.pathname.endsWith("/greeting")) {
    return new Response(get("greeting"));
  }
  if (url.pathname.endsWith("/call")) {
    const answered = await fetch(url.searchParams.get("url"));
    return new Response(`${answered.status} ${await answered.text()}`);
  }
  if (request.method === "POST") {
    return new Response((await request.text()).toUpperCase());
  }
  return new Response("Hello from JavaScript\n", { headers: { "content-type": "text/plain" } });
}
