// Checks of the JavaScript SDK; see ../README.md.
import { randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import dapr from "@dapr/dapr";

const { DaprClient, DaprServer, CommunicationProtocolEnum, HttpMethod } = dapr;
const { APP_ID, APP_PORT, APP_PROTOCOL, SECOND_APP_ID, DAPR_HTTP_PORT, DAPR_GRPC_PORT } = process.env;
const grpc = APP_PROTOCOL === "grpc";
const protocol = grpc ? CommunicationProtocolEnum.GRPC : CommunicationProtocolEnum.HTTP;
const run = randomUUID();
const waitMs = 60_000;

const clientOptions = {
  daprHost: "127.0.0.1",
  daprPort: grpc ? DAPR_GRPC_PORT : DAPR_HTTP_PORT,
  communicationProtocol: protocol,
};
let failures = 0;
const received = new Set();

async function check(name, body) {
  try {
    await body();
    console.log(`ok ${name}`);
  } catch (error) {
    failures += 1;
    console.log(`FAILED ${name}: ${error?.stack ?? error}`);
  }
}

function equal(actual, expected) {
  if (!isDeepStrictEqual(actual, expected)) {
    throw new Error(`expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`);
  }
}

/** The SDK throws for some calls and hands back `{ error }` for others. */
async function refused(action, needle) {
  let problem;
  try {
    problem = (await action())?.error;
  } catch (error) {
    problem = error;
  }
  if (problem === undefined) throw new Error("was accepted");
  const text = `${problem.message ?? problem} ${JSON.stringify(problem)}`;
  if (!text.toLowerCase().includes(needle)) throw new Error(`"${needle}" is not in ${text}`);
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function awaitIds(ids) {
  const end = Date.now() + waitMs;
  while (ids.some((id) => !received.has(id))) {
    if (Date.now() > end) throw new Error(`not delivered: ${ids.filter((id) => !received.has(id))}`);
    await pause(50);
  }
}

const server = new DaprServer({
  serverHost: "127.0.0.1",
  serverPort: APP_PORT,
  communicationProtocol: protocol,
  clientOptions,
});
await server.invoker.listen("greet", async ({ body }) => ({ hello: typeof body === "string" ? JSON.parse(body) : body }), {
  method: HttpMethod.POST,
});
await server.pubsub.subscribe("pubsub", "orders", async (data) => {
  received.add(data.id);
});
await server.start();

const client = new DaprClient(clientOptions);

await check("invoke.own", async () => {
  equal(await client.invoker.invoke(APP_ID, "greet", HttpMethod.POST, { who: "there" }), { hello: { who: "there" } });
});
await check("invoke.second", async () => {
  const answer = await client.invoker.invoke(SECOND_APP_ID, "echo", HttpMethod.POST, { n: 1 });
  equal(answer, { app: SECOND_APP_ID, verb: "POST", query: "", body: '{"n":1}' });
});
await check("invoke.unknown", () =>
  refused(() => client.invoker.invoke("nobody-here", "greet", HttpMethod.POST, {}), "nobody-here"),
);

const key = `key-${run}`;
await check("state.save-get", async () => {
  equal((await client.state.save("statestore", [{ key, value: { n: 1 } }])).error, undefined);
  equal(await client.state.get("statestore", key), { n: 1 });
});
await check("state.missing", async () => equal(await client.state.get("statestore", `${key}-missing`), ""));
await check("state.stale-etag", async () => {
  const [{ etag }] = await client.state.getBulk("statestore", [key]);
  equal((await client.state.save("statestore", [{ key, value: "second", etag }])).error, undefined);
  await refused(() => client.state.save("statestore", [{ key, value: "third", etag }]), "etag");
  equal(await client.state.get("statestore", key), "second");
});
await check("state.delete", async () => {
  equal((await client.state.delete("statestore", key)).error, undefined);
  equal(await client.state.get("statestore", key), "");
});
await check("state.transaction", async () => {
  await client.state.save("statestore", [{ key: `${key}-gone`, value: "x" }]);
  await client.state.transaction("statestore", [
    { operation: "upsert", request: { key: `${key}-t1`, value: "one" } },
    { operation: "delete", request: { key: `${key}-gone` } },
  ]);
  equal(await client.state.get("statestore", `${key}-t1`), "one");
  equal(await client.state.get("statestore", `${key}-gone`), "");
});
await check("state.bulk", async () => {
  const keys = [0, 1, 2, 3, 4].map((n) => `${key}-b${n}`);
  equal((await client.state.save("statestore", keys.map((key) => ({ key, value: { key } })))).error, undefined);
  const found = await client.state.getBulk("statestore", keys);
  equal(found.map((item) => item.key).sort(), keys);
  equal(found.find((item) => item.key === keys[3]).data, { key: keys[3] });
});
await check("state.unknown-store", () =>
  refused(() => client.state.save("no-such-store", [{ key: "k", value: "v" }]), "no-such-store"),
);

await check("pubsub.round-trip", async () => {
  equal((await client.pubsub.publish("pubsub", "orders", { id: run })).error, undefined);
  await awaitIds([run]);
});
await check("pubsub.bulk", async () => {
  const ids = [0, 1, 2, 3, 4].map((n) => `${run}-${n}`);
  const answer = await client.pubsub.publishBulk("pubsub", "orders", ids.map((id) => ({ id })));
  equal(answer.failedMessages, []);
  await awaitIds(ids);
});
await check("pubsub.unknown", () =>
  refused(() => client.pubsub.publish("no-such-pubsub", "orders", { id: run }), "no-such-pubsub"),
);

const file = { fileName: `${run}.txt` };
await check("binding.create-get", async () => {
  await client.binding.send("files", "create", { content: run }, file);
  const answer = await client.binding.send("files", "get", undefined, file);
  // Over HTTP the SDK decodes JSON, over gRPC it hands over bytes.
  equal(grpc ? JSON.parse(Buffer.from(answer.data).toString()) : answer, { content: run });
});
await check("binding.delete", async () => {
  await client.binding.send("files", "delete", undefined, file);
  await refused(() => client.binding.send("files", "get", undefined, file), run);
});

await check("secrets.one", async () => {
  equal(await client.secret.get("secrets", "greeting"), { greeting: "hello" });
  equal(await client.secret.get("secrets", "nested.part"), { "nested.part": "inner" });
});
await check("secrets.all", async () => {
  equal((await client.secret.getBulk("secrets")).greeting !== undefined, true);
});
await check("secrets.unknown", () =>
  refused(() => client.secret.get("secrets", "nothing-by-this-name"), "nothing-by-this-name"),
);

await client.stop();
process.exit(failures === 0 ? 0 : 1);
