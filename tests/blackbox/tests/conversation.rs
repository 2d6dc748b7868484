//! The conversation API: the echo, and a model behind OpenAI's protocol.
#![forbid(unsafe_code)]

use dapr_blackbox::{FakeApp, Options, Scratch, Sidecar, call_grpc, component, respond, respond_json};
use serde_json::{Value, json};

#[tokio::test]
async fn what_is_said_comes_back_without_personal_data() {
    let scratch = Scratch::new("conversation");
    let folder = scratch.resources("resources", &[&component("echo", "conversation.echo", &json!({}))]);
    let sidecar = Sidecar::start(&scratch, Options::new("a").resources(folder)).await;

    let path = "/v1.0-alpha1/conversation/echo/converse";
    let body = json!({
        "contextID": "c1",
        "inputs": [{"content": "mail a@b.de", "scrubPII": true}, {"content": "from 10.0.0.1", "role": "system"}],
        "parameters": {"n": {"@type": "type.googleapis.com/google.protobuf.Int64Value", "value": "5"}},
    });
    let answer = sidecar.client.post(path, &body).await.expect(200).json();
    let expected = json!({
        "contextID": "c1",
        "outputs": [{"result": "mail <EMAIL_ADDRESS>\nfrom 10.0.0.1", "parameters": body["parameters"]}],
    });
    assert_eq!(answer, expected);

    let path = "/v1.0-alpha2/conversation/echo/converse";
    let body = json!({
        "inputs": [{"messages": [{"ofUser": {"content": [{"text": "hello from 10.0.0.1"}]}}]}],
        "scrubPii": true,
        "tools": [{"function": {"name": "f", "parameters": {"type": "object", "properties": {"p": {}}}}}],
    });
    let answer = sidecar.client.post(path, &body).await.expect(200).json();
    let expected = json!({"outputs": [{
        "choices": [{"finishReason": "tool_calls", "message": {
            "content": "hello from <IP>",
            "toolCalls": [{"id": "0", "function": {"name": "f", "arguments": "p"}}],
        }}],
        "usage": {"completionTokens": "3", "promptTokens": "3", "totalTokens": "6"},
    }]});
    assert_eq!(answer, expected);

    for (path, body, status, code, text) in [
        (path, json!({}), 400, "ERR_CONVERSATION_MISSING_INPUTS", "missing inputs in request"),
        (
            path,
            json!({"inputs": [{"messages": [{}]}]}),
            400,
            "ERR_CONVERSATION_INVALID_PARMS",
            "message type cannot be nil",
        ),
        (path, json!({"inputs": 1}), 400, "ERR_MALFORMED_REQUEST", "failed deserializing HTTP body: proto"),
        (
            "/v1.0-alpha1/conversation/none/converse",
            json!({}),
            400,
            "ERR_CONVERSATION_NOT_FOUND",
            "failed finding conversation component none",
        ),
    ] {
        let answer = sidecar.client.post(path, &body).await.expect(status).json();
        assert_eq!(answer["errorCode"], code);
        assert!(answer["message"].as_str().unwrap_or_default().contains(text), "{answer}");
    }
    // A request that names no component, over gRPC.
    for method in ["ConverseAlpha1", "ConverseAlpha2"] {
        let path = format!("/dapr.proto.runtime.v1.Dapr/{method}");
        let (_, status) = call_grpc(sidecar.grpc_port, &path, &[], b"").await;
        assert_eq!(status, "3", "{method}");
    }
    sidecar.stop().await;
}

#[tokio::test]
async fn a_model_is_asked_again_as_the_policy_says() {
    let scratch = Scratch::new("conversation");
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = calls.clone();
    let model = FakeApp::start(move |request| {
        let first = counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        async move {
            if first {
                return respond(503, r#"{"error": {"message": "busy"}}"#);
            }
            let question: Value = serde_json::from_slice(request.body()).expect("JSON");
            let text = format!("you said {}", question["messages"][0]["content"]);
            respond_json(&json!({
                "choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
            }))
        }
    })
    .await;
    let metadata = json!({"endpoint": format!("http://127.0.0.1:{}/v1", model.port), "model": "small"});
    let model_component = component("model", "conversation.ollama", &metadata);
    let resiliency = "
apiVersion: dapr.io/v1alpha1
kind: Resiliency
metadata: {name: r}
spec:
  policies: {retries: {again: {policy: constant, duration: 10ms, maxRetries: 3}}}
  targets: {components: {model: {outbound: {retry: again}}}}
";
    let folder = scratch.resources("resources", &[&model_component, resiliency]);
    let sidecar = Sidecar::start(&scratch, Options::new("a").resources(folder)).await;
    let body = json!({"inputs": [{"messages": [{"ofUser": {"content": [{"text": "hello"}]}}]}]});
    let answer =
        sidecar.client.post("/v1.0-alpha2/conversation/model/converse", &body).await.expect(200).json();
    let output = &answer["outputs"][0];
    assert_eq!(output["model"], "small");
    assert_eq!(output["choices"][0]["message"]["content"], "you said \"hello\"");
    assert_eq!(output["usage"]["totalTokens"], "3");
    assert_eq!(calls.load(std::sync::atomic::Ordering::Relaxed), 2);
    sidecar.stop().await;
}
