// shipping: hears of every order that was placed, and asks `orders` for its
// details. No package is needed.
const http = require("node:http");

const sidecar = { host: "127.0.0.1", port: process.env.DAPR_HTTP_PORT };

function invoke(appId, method) {
  return new Promise((resolve, reject) => {
    const path = `/v1.0/invoke/${appId}/method/${method}`;
    http.get({ ...sidecar, path }, (answer) => body(answer).then(JSON.parse).then(resolve, reject)).on("error", reject);
  });
}

async function body(stream) {
  let text = "";
  for await (const chunk of stream) text += chunk;
  return text;
}

async function ship(request) {
  const event = JSON.parse(await body(request));
  const order = await invoke("orders", `orders/${event.data.id}`);
  console.log(`order ${order.id}: ${order.article} are on their way`);
}

// What the sidecar asks for at its start: which topics lead to which route.
const subscriptions = [{ pubsubname: "pubsub", topic: "placed", route: "/placed" }];

http
  .createServer(async (request, answer) => {
    const send = (status, value) => {
      answer.writeHead(status, { "content-type": "application/json" });
      answer.end(JSON.stringify(value));
    };
    try {
      if (request.url === "/dapr/subscribe") return send(200, subscriptions);
      if (request.url !== "/placed") return send(404, {});
      await ship(request);
      send(200, { status: "SUCCESS" });
    } catch (error) {
      console.log(`not shipped: ${error.message}`);
      send(200, { status: "RETRY" });
    }
  })
  .listen(process.env.APP_PORT, "127.0.0.1");
