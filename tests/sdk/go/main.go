// Checks of the Go SDK; see ../README.md.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/dapr/go-sdk/client"
	"github.com/dapr/go-sdk/service/common"
	daprgrpc "github.com/dapr/go-sdk/service/grpc"
	daprhttp "github.com/dapr/go-sdk/service/http"
)

const waitLimit = time.Minute

var (
	appID    = os.Getenv("APP_ID")
	second   = os.Getenv("SECOND_APP_ID")
	run      = newRun()
	failures int
	orders   = inbox{seen: map[string]bool{}}
)

func newRun() string {
	id := make([]byte, 8)
	_, _ = rand.Read(id)
	return hex.EncodeToString(id)
}

// inbox holds the identifiers of the orders that have been delivered.
type inbox struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (b *inbox) add(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seen[id] = true
}

func (b *inbox) await(ids ...string) error {
	for end := time.Now().Add(waitLimit); ; time.Sleep(50 * time.Millisecond) {
		missing := []string{}
		b.mu.Lock()
		for _, id := range ids {
			if !b.seen[id] {
				missing = append(missing, id)
			}
		}
		b.mu.Unlock()
		if len(missing) == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("not delivered: %v", missing)
		}
	}
}

func check(name string, body func() error) {
	if err := body(); err != nil {
		failures++
		fmt.Printf("FAILED %s: %v\n", name, err)
		return
	}
	fmt.Printf("ok %s\n", name)
}

func equal(actual []byte, expected string) error {
	if string(actual) != expected {
		return fmt.Errorf("expected %q, got %q", expected, actual)
	}
	return nil
}

func refused(err error, needle string) error {
	if err == nil {
		return errors.New("was accepted")
	}
	if !strings.Contains(strings.ToLower(err.Error()), needle) {
		return fmt.Errorf("%q is not in %w", needle, err)
	}
	return nil
}

func serve() (common.Service, error) {
	address := "127.0.0.1:" + os.Getenv("APP_PORT")
	var service common.Service
	greet, route := "greet", "orders"
	if os.Getenv("APP_PROTOCOL") == "grpc" {
		var err error
		if service, err = daprgrpc.NewService(address); err != nil {
			return nil, err
		}
	} else {
		service = daprhttp.NewService(address)
		greet, route = "/greet", "/orders"
	}
	err := service.AddServiceInvocationHandler(greet, func(_ context.Context, in *common.InvocationEvent) (*common.Content, error) {
		return &common.Content{Data: append([]byte("hello "), in.Data...), ContentType: "text/plain"}, nil
	})
	if err != nil {
		return nil, err
	}
	subscription := &common.Subscription{PubsubName: "pubsub", Topic: "orders", Route: route}
	err = service.AddTopicEventHandler(subscription, func(_ context.Context, e *common.TopicEvent) (bool, error) {
		var order struct {
			ID string `json:"id"`
		}
		if err := e.Struct(&order); err != nil {
			return false, err
		}
		orders.add(order.ID)
		return false, nil
	})
	return service, err
}

func invocation(ctx context.Context, c client.Client) {
	text := &client.DataContent{Data: []byte("there"), ContentType: "text/plain"}
	check("invoke.own", func() error {
		answer, err := c.InvokeMethodWithContent(ctx, appID, "greet", "post", text)
		return errors.Join(err, equal(answer, "hello there"))
	})
	check("invoke.second", func() error {
		content := &client.DataContent{Data: []byte(`{"n":1}`), ContentType: "application/json"}
		answer, err := c.InvokeMethodWithContent(ctx, second, "echo?a=b", "post", content)
		if err != nil {
			return err
		}
		var echo map[string]string
		if err := json.Unmarshal(answer, &echo); err != nil {
			return err
		}
		if echo["app"] != second || echo["verb"] != "POST" || echo["query"] != "a=b" || echo["body"] != `{"n":1}` {
			return fmt.Errorf("got %s", answer)
		}
		return nil
	})
	check("invoke.unknown", func() error {
		_, err := c.InvokeMethodWithContent(ctx, "nobody-here", "greet", "post", text)
		return refused(err, "nobody-here")
	})
}

func state(ctx context.Context, c client.Client) {
	const store = "statestore"
	key := "key-" + run
	value := func(key string) []byte {
		item, err := c.GetState(ctx, store, key, nil)
		if err != nil {
			return []byte(err.Error())
		}
		return item.Value
	}
	check("state.save-get", func() error {
		return errors.Join(c.SaveState(ctx, store, key, []byte("first"), nil), equal(value(key), "first"))
	})
	check("state.missing", func() error { return equal(value(key+"-missing"), "") })
	check("state.stale-etag", func() error {
		item, err := c.GetState(ctx, store, key, nil)
		if err != nil {
			return err
		}
		if err := c.SaveStateWithETag(ctx, store, key, []byte("second"), item.Etag, nil); err != nil {
			return err
		}
		stale := c.SaveStateWithETag(ctx, store, key, []byte("third"), item.Etag, nil, client.WithConcurrency(client.StateConcurrencyFirstWrite))
		removal := c.DeleteStateWithETag(ctx, store, key, &client.ETag{Value: item.Etag}, nil, nil)
		return errors.Join(refused(stale, "etag"), refused(removal, "etag"), equal(value(key), "second"))
	})
	check("state.delete", func() error {
		return errors.Join(c.DeleteState(ctx, store, key, nil), equal(value(key), ""))
	})
	check("state.transaction", func() error {
		return errors.Join(
			c.SaveState(ctx, store, key+"-gone", []byte("x"), nil),
			c.ExecuteStateTransaction(ctx, store, nil, []*client.StateOperation{
				{Type: client.StateOperationTypeUpsert, Item: &client.SetStateItem{Key: key + "-t1", Value: []byte("one")}},
				{Type: client.StateOperationTypeDelete, Item: &client.SetStateItem{Key: key + "-gone"}},
			}),
			equal(value(key+"-t1"), "one"),
			equal(value(key+"-gone"), ""),
		)
	})
	check("state.bulk", func() error {
		keys := []string{key + "-b0", key + "-b1", key + "-b2"}
		items := []*client.SetStateItem{}
		for _, k := range keys {
			items = append(items, &client.SetStateItem{Key: k, Value: []byte(k)})
		}
		if err := c.SaveBulkState(ctx, store, items...); err != nil {
			return err
		}
		found, err := c.GetBulkState(ctx, store, keys, nil, 10)
		if err != nil {
			return err
		}
		if len(found) != len(keys) {
			return fmt.Errorf("%d items", len(found))
		}
		for _, item := range found {
			if err := equal(item.Value, item.Key); err != nil {
				return err
			}
		}
		return errors.Join(c.DeleteBulkState(ctx, store, keys, nil), equal(value(keys[0]), ""))
	})
	check("state.unknown-store", func() error {
		return refused(c.SaveState(ctx, "no-such-store", "k", nil, nil), "no-such-store")
	})
}

func pubsub(ctx context.Context, c client.Client) {
	type order struct {
		ID string `json:"id"`
	}
	check("pubsub.round-trip", func() error {
		return errors.Join(c.PublishEvent(ctx, "pubsub", "orders", order{run}), orders.await(run))
	})
	check("pubsub.bulk", func() error {
		ids := []string{run + "-0", run + "-1", run + "-2"}
		events := []any{}
		for _, id := range ids {
			events = append(events, order{id})
		}
		answer := c.PublishEvents(ctx, "pubsub", "orders", events)
		if answer.Error != nil {
			return answer.Error
		}
		return orders.await(ids...)
	})
	check("pubsub.streaming", func() error {
		arrived := make(chan []byte, 100)
		stop, err := c.SubscribeWithHandler(ctx, client.SubscriptionOptions{PubsubName: "pubsub", Topic: "streamed"},
			func(e *common.TopicEvent) common.SubscriptionResponseStatus {
				arrived <- e.RawData
				return common.SubscriptionResponseStatusSuccess
			})
		if err != nil {
			return err
		}
		// The subscription has no signal for "in force": publish until one arrives.
		for end := time.Now().Add(waitLimit); time.Now().Before(end); {
			if err := c.PublishEvent(ctx, "pubsub", "streamed", order{run}); err != nil {
				return err
			}
			select {
			case data := <-arrived:
				if !bytes.Contains(data, []byte(run)) {
					return fmt.Errorf("got %s", data)
				}
				return stop()
			case <-time.After(time.Second):
			}
		}
		return errors.New("nothing arrived")
	})
	check("pubsub.unknown", func() error {
		return refused(c.PublishEvent(ctx, "no-such-pubsub", "orders", order{run}), "no-such-pubsub")
	})
}

func binding(ctx context.Context, c client.Client) {
	name := map[string]string{"fileName": run + ".txt"}
	call := func(operation string, data string) (*client.BindingEvent, error) {
		return c.InvokeBinding(ctx, &client.InvokeBindingRequest{Name: "files", Operation: operation, Data: []byte(data), Metadata: name})
	}
	check("binding.create-get", func() error {
		if _, err := call("create", "content of the file"); err != nil {
			return err
		}
		answer, err := call("get", "")
		if err != nil {
			return err
		}
		return equal(answer.Data, "content of the file")
	})
	check("binding.delete", func() error {
		if _, err := call("delete", ""); err != nil {
			return err
		}
		_, err := call("get", "")
		return refused(err, run+".txt")
	})
}

func secrets(ctx context.Context, c client.Client) {
	one := func(name, expected string) error {
		found, err := c.GetSecret(ctx, "secrets", name, nil)
		return errors.Join(err, equal([]byte(found[name]), expected))
	}
	check("secrets.one", func() error {
		return errors.Join(one("greeting", "hello"), one("nested.part", "inner"))
	})
	check("secrets.all", func() error {
		found, err := c.GetBulkSecret(ctx, "secrets", nil)
		return errors.Join(err, equal([]byte(found["greeting"]["greeting"]), "hello"))
	})
	check("secrets.unknown", func() error {
		_, err := c.GetSecret(ctx, "secrets", "nothing-by-this-name", nil)
		return refused(err, "nothing-by-this-name")
	})
}

// awaitOwnPort returns when the application is listening.
func awaitOwnPort() error {
	for end := time.Now().Add(waitLimit); ; time.Sleep(50 * time.Millisecond) {
		conn, err := net.Dial("tcp", "127.0.0.1:"+os.Getenv("APP_PORT"))
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(end) {
			return err
		}
	}
}

func main() {
	service, err := serve()
	if err != nil {
		fmt.Println("FAILED serve:", err)
		os.Exit(1)
	}
	go func() {
		if err := service.Start(); err != nil {
			fmt.Println("FAILED serve:", err)
			os.Exit(1)
		}
	}()
	c, err := client.NewClient()
	if err != nil {
		fmt.Println("FAILED client:", err)
		os.Exit(1)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*waitLimit)
	defer cancel()
	check("client.wait", func() error { return errors.Join(awaitOwnPort(), c.Wait(ctx, waitLimit)) })
	invocation(ctx, c)
	state(ctx, c)
	pubsub(ctx, c)
	binding(ctx, c)
	secrets(ctx, c)
	if failures > 0 {
		os.Exit(1)
	}
}
