// A component by componentize-js: the standard fetch event, which its engine maps to wasi:http.
addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const url = new URL(request.url);
  if (url.pathname.endsWith("/call")) {
    const answered = await fetch(url.searchParams.get("url"));
    return new Response(`${answered.status} ${await answered.text()}`);
  }
  if (request.method === "POST") {
    return new Response((await request.text()).toUpperCase());
  }
  return new Response("Hello from JavaScript\n", { headers: { "content-type": "text/plain" } });
}
