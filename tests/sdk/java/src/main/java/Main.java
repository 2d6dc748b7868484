import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import io.dapr.client.DaprClient;
import io.dapr.client.DaprClientBuilder;
import io.dapr.client.DaprPreviewClient;
import io.dapr.client.SubscriptionListener;
import io.dapr.client.domain.CloudEvent;
import io.dapr.client.domain.HttpExtension;
import io.dapr.client.domain.State;
import io.dapr.client.domain.StateOptions;
import io.dapr.client.domain.TransactionalStateOperation;
import io.dapr.utils.TypeRef;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import reactor.core.publisher.Mono;

/** Checks of the Java SDK; see ../README.md. */
public final class Main {
  private static final String APP_ID = System.getenv("APP_ID");
  private static final String SECOND = System.getenv("SECOND_APP_ID");
  private static final String RUN = UUID.randomUUID().toString();
  private static final String STORE = "statestore";
  private static final int WAIT_MS = 60_000;

  private static final Set<String> orders = ConcurrentHashMap.newKeySet();
  private static int failures;

  private interface Body {
    void run() throws Exception;
  }

  private static void check(String name, Body body) {
    try {
      body.run();
      System.out.println("ok " + name);
    } catch (Throwable error) {
      failures++;
      System.out.println("FAILED " + name + ": " + error);
      error.printStackTrace();
    }
  }

  private static void equal(Object actual, Object expected) {
    if (!Objects.equals(actual, expected)) {
      throw new AssertionError("expected " + expected + ", got " + actual);
    }
  }

  private static void refused(Mono<?> call, String needle) {
    try {
      call.block();
    } catch (RuntimeException error) {
      if (!String.valueOf(error.getMessage()).toLowerCase(Locale.ROOT).contains(needle)) {
        throw new AssertionError("\"" + needle + "\" is not in " + error, error);
      }
      return;
    }
    throw new AssertionError("was accepted");
  }

  private static void awaitDelivery(Set<String> seen, List<String> ids) throws InterruptedException {
    for (long end = System.currentTimeMillis() + WAIT_MS; !seen.containsAll(ids); Thread.sleep(50)) {
      if (System.currentTimeMillis() > end) {
        throw new AssertionError("not all delivered: " + ids + ", only " + seen);
      }
    }
  }

  private static void answer(HttpExchange exchange, String type, byte[] body) throws IOException {
    exchange.getResponseHeaders().set("content-type", type);
    exchange.sendResponseHeaders(200, body.length == 0 ? -1 : body.length);
    if (body.length > 0) {
      exchange.getResponseBody().write(body);
    }
    exchange.close();
  }

  /** The SDK's core has no server of its own: the JDK's, and the SDK's event type. */
  private static HttpServer serve() throws IOException {
    int port = Integer.parseInt(System.getenv("APP_PORT"));
    HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
    server.setExecutor(Executors.newCachedThreadPool());
    server.createContext("/dapr/subscribe", exchange -> answer(exchange, "application/json",
        "[{\"pubsubname\":\"pubsub\",\"topic\":\"orders\",\"route\":\"/orders\"}]".getBytes(StandardCharsets.UTF_8)));
    server.createContext("/orders", exchange -> {
      CloudEvent<?> event = CloudEvent.deserialize(exchange.getRequestBody().readAllBytes());
      orders.add(String.valueOf(((Map<?, ?>) event.getData()).get("id")));
      answer(exchange, "application/json", "{\"status\":\"SUCCESS\"}".getBytes(StandardCharsets.UTF_8));
    });
    server.createContext("/greet", exchange -> {
      String body = new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8);
      answer(exchange, "text/plain", ("hello " + body).getBytes(StandardCharsets.UTF_8));
    });
    server.createContext("/", exchange -> {
      exchange.sendResponseHeaders(404, -1);
      exchange.close();
    });
    server.start();
    return server;
  }

  private static void invocation(DaprClient client) {
    check("invoke.own", () -> {
      byte[] text = "there".getBytes(StandardCharsets.UTF_8);
      byte[] answer = client.invokeMethod(APP_ID, "greet", text, HttpExtension.POST, Map.of()).block();
      equal(new String(answer, StandardCharsets.UTF_8), "hello there");
    });
    check("invoke.second", () -> {
      Map<?, ?> echo = client.invokeMethod(SECOND, "echo", Map.of("n", 1),
          new HttpExtension(HttpExtension.POST.getMethod(), Map.of("a", List.of("b")), Map.of()), Map.class).block();
      equal(echo, Map.of("app", SECOND, "verb", "POST", "query", "a=b", "body", "{\"n\":1}"));
    });
    check("invoke.unknown", () ->
        refused(client.invokeMethod("nobody-here", "greet", "x", HttpExtension.POST, String.class), "nobody-here"));
  }

  private static String value(DaprClient client, String key) {
    return client.getState(STORE, key, String.class).block().getValue();
  }

  private static void state(DaprClient client) {
    String key = "key-" + RUN;
    StateOptions firstWrite =
        new StateOptions(StateOptions.Consistency.STRONG, StateOptions.Concurrency.FIRST_WRITE);
    check("state.save-get", () -> {
      client.saveState(STORE, key, "first").block();
      equal(value(client, key), "first");
    });
    check("state.missing", () -> equal(value(client, key + "-missing"), null));
    check("state.stale-etag", () -> {
      String old = client.getState(STORE, key, String.class).block().getEtag();
      client.saveState(STORE, key, old, "second", firstWrite).block();
      refused(client.saveState(STORE, key, old, "third", firstWrite), "etag");
      refused(client.deleteState(STORE, key, old, firstWrite), "etag");
      equal(value(client, key), "second");
    });
    check("state.delete", () -> {
      client.deleteState(STORE, key).block();
      equal(value(client, key), null);
    });
    check("state.transaction", () -> {
      client.saveState(STORE, key + "-gone", "x").block();
      client.executeStateTransaction(STORE, List.of(
          new TransactionalStateOperation<>(TransactionalStateOperation.OperationType.UPSERT,
              new State<>(key + "-t1", "one", "")),
          new TransactionalStateOperation<>(TransactionalStateOperation.OperationType.DELETE,
              new State<>(key + "-gone")))).block();
      equal(value(client, key + "-t1"), "one");
      equal(value(client, key + "-gone"), null);
    });
    check("state.bulk", () -> {
      List<String> keys = List.of(key + "-b0", key + "-b1", key + "-b2");
      List<State<?>> states = new ArrayList<>();
      keys.forEach(k -> states.add(new State<>(k, k, "")));
      client.saveBulkState(STORE, states).block();
      List<State<String>> found = client.getBulkState(STORE, keys, String.class).block();
      equal(found.size(), keys.size());
      found.forEach(item -> equal(item.getValue(), item.getKey()));
    });
    check("state.unknown-store", () -> refused(client.saveState("no-such-store", "k", "v"), "no-such-store"));
  }

  private static void pubsub(DaprClient client, DaprPreviewClient preview) {
    check("pubsub.round-trip", () -> {
      client.publishEvent("pubsub", "orders", Map.of("id", RUN)).block();
      awaitDelivery(orders, List.of(RUN));
    });
    check("pubsub.bulk", () -> {
      List<String> ids = List.of(RUN + "-0", RUN + "-1", RUN + "-2");
      List<Map<String, String>> events = ids.stream().map(id -> Map.of("id", id)).toList();
      var answer = preview.publishEvents("pubsub", "orders", "application/json", events).block();
      equal(answer.getFailedEntries().size(), 0);
      awaitDelivery(orders, ids);
    });
    check("pubsub.streaming", () -> {
      Set<String> arrived = ConcurrentHashMap.newKeySet();
      var listener = new SubscriptionListener<Map<String, String>>() {
        @Override
        public Mono<Status> onEvent(CloudEvent<Map<String, String>> event) {
          arrived.add(event.getData().get("id"));
          return Mono.just(Status.SUCCESS);
        }

        @Override
        public void onError(RuntimeException exception) {
          exception.printStackTrace();
        }
      };
      var type = new TypeRef<Map<String, String>>() {};
      try (var subscription = preview.subscribeToEvents("pubsub", "streamed", listener, type)) {
        // The subscription has no signal for "in force": publish until one arrives.
        for (int attempt = 0; arrived.isEmpty() && attempt < 60; attempt++) {
          client.publishEvent("pubsub", "streamed", Map.of("id", RUN)).block();
          Thread.sleep(1000);
        }
        equal(arrived, Set.of(RUN));
      }
    });
    check("pubsub.unknown", () ->
        refused(client.publishEvent("no-such-pubsub", "orders", Map.of()), "no-such-pubsub"));
  }

  private static void binding(DaprClient client) {
    Map<String, String> name = Map.of("fileName", RUN + ".txt");
    byte[] content = "content of the file".getBytes(StandardCharsets.UTF_8);
    check("binding.create-get", () -> {
      client.invokeBinding("files", "create", content, name).block();
      byte[] found = client.invokeBinding("files", "get", new byte[0], name).block();
      equal(new String(found, StandardCharsets.UTF_8), "content of the file");
    });
    check("binding.delete", () -> {
      client.invokeBinding("files", "delete", new byte[0], name).block();
      refused(client.invokeBinding("files", "get", new byte[0], name), RUN + ".txt");
    });
  }

  private static void secrets(DaprClient client) {
    check("secrets.one", () -> {
      equal(client.getSecret("secrets", "greeting").block(), Map.of("greeting", "hello"));
      equal(client.getSecret("secrets", "nested.part").block(), Map.of("nested.part", "inner"));
    });
    check("secrets.all", () ->
        equal(client.getBulkSecret("secrets").block().get("greeting"), Map.of("greeting", "hello")));
    check("secrets.unknown", () ->
        refused(client.getSecret("secrets", "nothing-by-this-name"), "nothing-by-this-name"));
  }

  public static void main(String[] arguments) throws Exception {
    serve();
    try (DaprClient client = new DaprClientBuilder().build();
        DaprPreviewClient preview = new DaprClientBuilder().buildPreviewClient()) {
      client.waitForSidecar(WAIT_MS).block();
      invocation(client);
      state(client);
      pubsub(client, preview);
      binding(client);
      secrets(client);
    }
    System.exit(failures == 0 ? 0 : 1);
  }
}
