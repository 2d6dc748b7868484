use super::*;

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(data);
        Ok(data.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Page {
    /// What was written, each line without its time.
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().clone()).unwrap();
        text.lines().map(without_time).collect()
    }
}

fn without_time(line: &str) -> String {
    if let Some(rest) = line.strip_prefix("time=\"") {
        return rest.split_once("\" ").unwrap().1.to_owned();
    }
    let start = line.find("\"time\":\"").unwrap();
    let end = start + 8 + line[start + 8..].find('"').unwrap();
    format!("{}{}", &line[..start], &line[end + 2..])
}

fn options() -> LogOptions {
    LogOptions { instance: "host".into(), ..LogOptions::new("1.18.3") }
}

fn logged(options: LogOptions, events: impl FnOnce(&LogHandle)) -> Vec<String> {
    let page = Page::default();
    let (logger, handle) = options.build_to(Box::new(page.clone()));
    tracing::subscriber::with_default(logger, || events(&handle));
    page.lines()
}

#[test]
fn text_lines_have_sorted_keys_after_the_message() {
    let lines = logged(options(), |handle| {
        tracing::info!(target: "dapr.runtime", "starting Dapr Runtime -- version {}", "1.18.3");
        handle.set_app_id("my app");
        tracing::warn!(target: "dapr.contrib", component = "redis (state.redis/v1)", attempt = 2, zero = "", "slow");
    });
    assert_eq!(
        lines,
        [
            "level=info msg=\"starting Dapr Runtime -- version 1.18.3\" instance=host scope=dapr.runtime type=log ver=1.18.3",
            "level=warning msg=slow app_id=\"my app\" attempt=2 component=\"redis (state.redis/v1)\" \
             instance=host scope=dapr.contrib type=log ver=1.18.3 zero=",
        ]
    );
}

#[test]
fn text_values_are_quoted_unless_plain() {
    let lines = logged(options(), |_| {
        tracing::error!(target: "dapr.runtime", plain = "a-Z0._/@^+", quoted = "a=b", "\"a\" failed\n\\end");
    });
    assert_eq!(
        lines,
        ["level=error msg=\"\\\"a\\\" failed\\n\\\\end\" instance=host plain=a-Z0._/@^+ quoted=\"a=b\" \
          scope=dapr.runtime type=log ver=1.18.3"]
    );
}

#[test]
fn json_lines_have_sorted_keys_and_escape_html() {
    let lines = logged(LogOptions { format: Format::Json, app_id: "app".into(), ..options() }, |_| {
        tracing::info!(target: HTTP_API_SCOPE, method = "GET /v1.0/<x>&y", code = 204, ok = true, share = 0.5, "HTTP API Called");
    });
    assert_eq!(
        lines,
        [
            r#"{"app_id":"app","code":204,"instance":"host","level":"info","method":"GET /v1.0/\u003cx\u003e\u0026y","msg":"HTTP API Called","ok":true,"scope":"dapr.runtime.http-info","share":0.5,"type":"log","ver":"1.18.3"}"#
        ]
    );
}

#[test]
fn the_threshold_applies_except_to_the_api_log() {
    let all = |level| {
        logged(LogOptions { level, ..options() }, |handle| {
            tracing::debug!(target: "dapr.runtime", "d");
            tracing::info!(target: "dapr.runtime", "i");
            tracing::warn!(target: "dapr.runtime", "w");
            tracing::error!(target: "dapr.runtime", "e");
            tracing::info!(target: GRPC_API_SCOPE, "api");
            handle.fatal("dapr.runtime", &"f");
        })
        .iter()
        .map(|line| line.split_once("msg=").unwrap().1.split(' ').next().unwrap().to_owned())
        .collect::<Vec<_>>()
    };
    assert_eq!(all(Level::Debug), ["d", "i", "w", "e", "api", "f"]);
    assert_eq!(all(Level::Info), ["i", "w", "e", "api", "f"]);
    assert_eq!(all(Level::Error), ["e", "api", "f"]);
    assert_eq!(all(Level::Fatal), ["api", "f"]);
}

#[test]
fn the_level_can_change_while_running() {
    let lines = logged(LogOptions { level: Level::Error, ..options() }, |handle| {
        let say = || tracing::info!(target: "dapr.runtime", "now");
        say();
        handle.set_level(Level::Info);
        say();
    });
    assert_eq!(lines.len(), 1);
}

#[test]
fn fatal_lines_name_their_level_and_the_exit_code() {
    let lines = logged(options(), |handle| {
        assert_eq!(handle.fatal("dapr.runtime", &"cannot listen"), 1);
    });
    assert_eq!(
        lines,
        ["level=fatal msg=\"cannot listen\" instance=host scope=dapr.runtime type=log ver=1.18.3"]
    );
}

#[test]
fn fields_may_not_pass_for_the_lines_own() {
    let lines = logged(options(), |_| {
        tracing::info!(target: "dapr.runtime", level = "high", r#type = "request", "x");
    });
    assert_eq!(
        lines,
        ["level=info msg=x fields.level=high instance=host scope=dapr.runtime type=request ver=1.18.3"]
    );
}

#[test]
fn libraries_are_silent_and_own_modules_log_as_the_runtime() {
    let lines = logged(options(), |_| {
        tracing::error!(target: "h2::codec", "noise");
        tracing::info!("from this module");
    });
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("scope=dapr.runtime "));
}

#[test]
fn levels_are_spelled_as_the_flag_has_them() {
    assert_eq!("WARN".parse::<Level>().unwrap(), Level::Warn);
    assert_eq!("warning".parse::<Level>().unwrap_err().to_string(), "invalid value for --log-level: warning");
}

#[test]
fn a_log_file_is_appended_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.log");
    std::fs::write(&path, "before\n").unwrap();
    let (logger, _) = LogOptions { file: Some(path.clone()), ..options() }.build().unwrap();
    tracing::subscriber::with_default(logger, || tracing::info!(target: "dapr.runtime", "to the file"));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("before\ntime=\"") && text.contains("msg=\"to the file\""));
    let missing = LogOptions { file: Some(dir.path().join("no/such")), ..options() }.build();
    assert!(missing.err().unwrap().to_string().starts_with("failed to open log file \""));
}
