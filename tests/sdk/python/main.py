"""Checks of the Python SDK; see ../README.md."""

import json
import os
import queue
import socket
import sys
import threading
import time
import traceback
import uuid

from dapr.clients import DaprClient
from dapr.clients.grpc._request import TransactionalStateOperation, TransactionOperationType
from dapr.clients.grpc._response import TopicEventResponse
from dapr.clients.grpc._state import Concurrency, Consistency, StateItem, StateOptions
from dapr.conf import settings

APP_ID = os.environ['APP_ID']
APP_PORT = int(os.environ['APP_PORT'])
APP_PROTOCOL = os.environ['APP_PROTOCOL']
SECOND = os.environ['SECOND_APP_ID']
RUN = uuid.uuid4().hex
WAIT_SECONDS = 60

received: 'queue.Queue[dict]' = queue.Queue()
failures = 0


def check(name):
    """Runs the decorated function at once and prints what came of it."""

    def run(body):
        global failures
        try:
            body()
            print(f'ok {name}')
        except Exception as error:
            failures += 1
            print(f'FAILED {name}: {type(error).__name__}: {error}')
            traceback.print_exc(file=sys.stderr)

    return run


def equal(actual, expected):
    if actual != expected:
        raise AssertionError(f'expected {expected!r}, got {actual!r}')


def refused(action, *needles):
    try:
        action()
    except Exception as error:
        for needle in needles:
            if needle.lower() not in str(error).lower():
                raise AssertionError(f'{needle!r} is not in {error}') from error
        return
    raise AssertionError('was accepted')


def serve_grpc():
    from dapr.ext.grpc import App, InvokeMethodRequest, InvokeMethodResponse

    app = App()

    @app.method('greet')
    def greet(request: InvokeMethodRequest):
        return InvokeMethodResponse(b'hello ' + request.data, 'text/plain')

    @app.subscribe(pubsub_name='pubsub', topic='orders')
    def orders(event):
        received.put(json.loads(event.data))

    return lambda: app.run(APP_PORT, listen_address='127.0.0.1')


def serve_http():
    import uvicorn
    from dapr.ext.fastapi import DaprApp
    from fastapi import Body, FastAPI, Request, Response

    app = FastAPI()
    dapr = DaprApp(app)

    @app.post('/greet')
    async def greet(request: Request):
        return Response(b'hello ' + await request.body(), media_type='text/plain')

    @dapr.subscribe(pubsub='pubsub', topic='orders')
    def orders(event=Body()):
        received.put(event['data'])

    return lambda: uvicorn.run(app, host='127.0.0.1', port=APP_PORT, log_level='warning')


def await_own_port():
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            socket.create_connection(('127.0.0.1', APP_PORT)).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def await_ids(expected):
    missing = set(expected)
    while missing:
        try:
            missing.discard(received.get(timeout=WAIT_SECONDS)['id'])
        except queue.Empty:
            raise AssertionError(f'not delivered: {missing}') from None


def invocation(client, suffix):
    @check(f'invoke.own{suffix}')
    def _():
        answer = client.invoke_method(APP_ID, 'greet', data='there', content_type='text/plain', http_verb='POST')
        equal(answer.text(), 'hello there')

    @check(f'invoke.second{suffix}')
    def _():
        answer = client.invoke_method(
            SECOND,
            'echo',
            data=json.dumps({'n': 1}),
            content_type='application/json',
            http_verb='POST',
            http_querystring=(('a', 'b'),),
        )
        equal(answer.json(), {'app': SECOND, 'verb': 'POST', 'query': 'a=b', 'body': '{"n": 1}'})

    @check(f'invoke.unknown{suffix}')
    def _():
        refused(lambda: client.invoke_method('nobody-here', 'greet', data='', http_verb='POST'), 'nobody-here')


def state(client):
    key = f'key-{RUN}'

    @check('state.save-get')
    def _():
        client.save_state('statestore', key, json.dumps({'n': 1}), state_metadata={'contentType': 'application/json'})
        item = client.get_state('statestore', key)
        equal(item.json(), {'n': 1})
        assert item.etag, 'no ETag'

    @check('state.missing')
    def _():
        equal(client.get_state('statestore', f'{key}-missing').data, b'')

    @check('state.stale-etag')
    def _():
        old = client.get_state('statestore', key).etag
        client.save_state('statestore', key, 'second', etag=old)
        first_write = StateOptions(concurrency=Concurrency.first_write, consistency=Consistency.strong)
        refused(lambda: client.save_state('statestore', key, 'third', etag=old, options=first_write), 'etag')
        refused(lambda: client.delete_state('statestore', key, etag=old, options=first_write), 'etag')
        equal(client.get_state('statestore', key).data, b'second')

    @check('state.delete')
    def _():
        client.delete_state('statestore', key)
        equal(client.get_state('statestore', key).data, b'')

    @check('state.transaction')
    def _():
        client.save_state('statestore', f'{key}-gone', 'x')
        client.execute_state_transaction(
            'statestore',
            [
                TransactionalStateOperation(f'{key}-t1', 'one', operation_type=TransactionOperationType.upsert),
                TransactionalStateOperation(f'{key}-gone', None, operation_type=TransactionOperationType.delete),
            ],
        )
        equal(client.get_state('statestore', f'{key}-t1').data, b'one')
        equal(client.get_state('statestore', f'{key}-gone').data, b'')

    @check('state.bulk')
    def _():
        client.save_bulk_state('statestore', [StateItem(key=f'{key}-b{n}', value=f'v{n}') for n in range(5)])
        wanted = [f'{key}-b{n}' for n in range(5)] + [f'{key}-none']
        found = {item.key: item.data for item in client.get_bulk_state('statestore', wanted).items}
        equal(sorted(found), sorted(wanted))
        equal(found[f'{key}-b3'], b'v3')
        equal(found[f'{key}-none'], b'')

    @check('state.unknown-store')
    def _():
        refused(lambda: client.get_state('no-such-store', 'k'), 'no-such-store')


def pubsub(client):
    @check('pubsub.round-trip')
    def _():
        client.publish_event('pubsub', 'orders', json.dumps({'id': RUN}), data_content_type='application/json')
        await_ids([RUN])

    @check('pubsub.bulk')
    def _():
        ids = [f'{RUN}-{n}' for n in range(5)]
        answer = client.publish_events(
            'pubsub', 'orders', [json.dumps({'id': id}) for id in ids], data_content_type='application/json'
        )
        equal(list(answer.failed_entries), [])
        await_ids(ids)

    @check('pubsub.streaming')
    def _():
        events = queue.Queue()

        def handle(message):
            events.put(message.data())
            return TopicEventResponse('success')

        close = client.subscribe_with_handler('pubsub', 'streamed', handle)
        try:
            # The subscription has no signal for "in force": publish until one arrives.
            for _ in range(WAIT_SECONDS):
                client.publish_event('pubsub', 'streamed', json.dumps({'id': RUN}), data_content_type='application/json')
                try:
                    equal(events.get(timeout=1), {'id': RUN})
                    return
                except queue.Empty:
                    continue
            raise AssertionError('nothing arrived')
        finally:
            close()

    @check('pubsub.unknown')
    def _():
        refused(lambda: client.publish_event('no-such-pubsub', 'orders', '{}'), 'no-such-pubsub')


def binding(client):
    name = {'fileName': f'{RUN}.txt'}

    @check('binding.create-get')
    def _():
        client.invoke_binding('files', 'create', 'content of the file', name)
        equal(client.invoke_binding('files', 'get', '', name).data, b'content of the file')

    @check('binding.delete')
    def _():
        client.invoke_binding('files', 'delete', '', name)
        refused(lambda: client.invoke_binding('files', 'get', '', name), f'{RUN}.txt')


def secrets(client):
    @check('secrets.one')
    def _():
        equal(dict(client.get_secret('secrets', 'greeting').secret), {'greeting': 'hello'})
        equal(dict(client.get_secret('secrets', 'nested.part').secret), {'nested.part': 'inner'})

    @check('secrets.all')
    def _():
        found = client.get_bulk_secret('secrets').secrets
        equal(found['greeting'], {'greeting': 'hello'})

    @check('secrets.unknown')
    def _():
        refused(lambda: client.get_secret('secrets', 'nothing-by-this-name'), 'nothing-by-this-name')


def main():
    serve = serve_grpc() if APP_PROTOCOL == 'grpc' else serve_http()
    threading.Thread(target=serve, daemon=True).start()
    await_own_port()
    with DaprClient() as client:
        client.wait(WAIT_SECONDS)
        invocation(client, '')
        state(client)
        pubsub(client)
        binding(client)
        secrets(client)
    # The client invokes over HTTP unless told otherwise.
    settings.DAPR_API_METHOD_INVOCATION_PROTOCOL = 'grpc'
    with DaprClient() as client:
        invocation(client, '.grpc')
    sys.stdout.flush()
    os._exit(1 if failures else 0)


main()
