//! `dapr list` (cli.md §6.2).

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use dapr_flags::{Command, Flag, Matches};
use serde_json::{Value, json};

use super::{Handler, help_flag, kubernetes_flag, later};
use crate::context::Context;
use crate::instances::{self, Instance};
use crate::records::{self, Record};
use crate::say::{Level, stdout};
use crate::table;

const EXAMPLE: &str = "
# List Dapr instances
dapr list

# List Dapr instances for a script
dapr list --output json
";
const COMMAND_WIDTH: usize = 20;
/// Printed for every instance, whatever its flags say (cli.md §6.1).
const MAX_BODY: i64 = 4 << 20;
const READ_BUFFER: i64 = 4 << 10;

/// Table header and key in the other formats; no header, no column.
const FIELDS: [(Option<&str>, &str); 17] = [
    (Some("APP ID"), "appId"),
    (Some("HTTP PORT"), "httpPort"),
    (Some("GRPC PORT"), "grpcPort"),
    (Some("APP PORT"), "appPort"),
    (None, "metricsEnabled"),
    (Some("COMMAND"), "command"),
    (Some("AGE"), "age"),
    (Some("CREATED"), "created"),
    (Some("DAPRD PID"), "daprdPid"),
    (Some("CLI PID"), "cliPid"),
    (Some("APP PID"), "appPid"),
    (None, "maxRequestBodySize"),
    (None, "httpReadBufferSize"),
    (Some("RUN_TEMPLATE_PATH"), "runTemplatePath"),
    (Some("APP_LOG_PATH"), "appLogPath"),
    (Some("DAPRD_LOG_PATH"), "daprdLogPath"),
    (Some("RunTemplateName"), "runTemplateName"),
];

pub(super) fn command() -> Command<Handler> {
    let output = "The output format of the list. Valid values are: json, yaml, or table (default)";
    Command::<Handler>::new("list", "List all Dapr instances. Supported platforms: Self-hosted")
        .example(EXAMPLE)
        .flag(help_flag())
        .flag(Flag::string("output", "", output).short('o'))
        .flag(kubernetes_flag())
        .flag(Flag::bool("all-namespaces", false, "").short('A').hidden())
        .flag(Flag::string("namespace", "", "").hidden())
        .run(run)
}

fn run(context: &Context, matches: &Matches) -> ExitCode {
    let format = matches.string("output");
    if !matches!(format, "" | "table" | "json" | "yaml") {
        context.say.out(Level::Failure, "An invalid output format was specified.");
        return ExitCode::FAILURE;
    }
    if let Some(code) = later::refuse_kubernetes(context, matches, "list") {
        return code;
    }
    let now = SystemTime::now();
    let records: Vec<Record> =
        context.block_on(instances::list()).iter().map(|instance| record(instance, now)).collect();
    stdout(&render(&records, format));
    ExitCode::SUCCESS
}

fn render(records: &[Record], format: &str) -> String {
    match format {
        "json" => records::json(records),
        "yaml" => records::yaml(records),
        _ if records.is_empty() => "No Dapr instances found.\n".to_owned(),
        _ => {
            let headers: Vec<&str> = FIELDS.iter().filter_map(|(header, _)| *header).collect();
            let cell = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let row = |record: &Record| {
                let shown = FIELDS.iter().zip(record).filter(|((header, _), _)| header.is_some());
                shown.map(|(_, (_, value))| cell(value)).collect()
            };
            let rows: Vec<Vec<String>> = records.iter().map(row).collect();
            table::render(&headers, &rows)
        }
    }
}

fn record(instance: &Instance, now: SystemTime) -> Record {
    let sidecar = &instance.sidecar;
    let value = |key: &str| match key {
        "appId" => json!(sidecar.app_id),
        "httpPort" => json!(sidecar.http_port),
        "grpcPort" => json!(sidecar.grpc_port),
        "appPort" => json!(sidecar.app_port),
        "metricsEnabled" => json!(sidecar.metrics_enabled),
        "command" => json!(cut(instance.text("appCommand"))),
        "age" => json!(age(now.duration_since(sidecar.created).unwrap_or_default())),
        "created" => json!(created(sidecar.created)),
        "daprdPid" => json!(sidecar.pid),
        "cliPid" => json!(instance.cli_pid()),
        "appPid" => json!(instance.app_pid()),
        "maxRequestBodySize" => json!(MAX_BODY),
        "httpReadBufferSize" => json!(READ_BUFFER),
        attribute => json!(instance.text(attribute)),
    };
    FIELDS.iter().map(|(_, key)| (*key, value(key))).collect()
}

fn cut(command: &str) -> String {
    if command.chars().count() <= COMMAND_WIDTH {
        return command.to_owned();
    }
    command.chars().take(COMMAND_WIDTH - 3).chain("...".chars()).collect()
}

/// `10s`, `5m`, `3h`, `2d`.
fn age(age: Duration) -> String {
    let seconds = age.as_secs_f64();
    let whole = age.as_secs();
    if seconds <= 60.0 {
        format!("{whole}s")
    } else if seconds <= 3600.0 {
        format!("{}m", whole / 60)
    } else if seconds <= 86400.0 {
        format!("{}h", whole / 3600)
    } else {
        format!("{}d", whole / 86400)
    }
}

/// Local time with a dot before the seconds.
fn created(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map(|time| time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M.%S").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::instances::Sidecar;

    fn instance(app_id: &str, extended: &[(&str, &str)]) -> Instance {
        let sidecar = Sidecar {
            pid: 4242,
            app_id: app_id.to_owned(),
            http_port: 3510,
            grpc_port: 50010,
            app_port: 0,
            metrics_enabled: true,
            socket: String::new(),
            created: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        };
        let extended: BTreeMap<String, String> =
            extended.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Instance { sidecar, extended }
    }

    /// Records as of 90 seconds after the start, with a fixed creation time.
    fn records(instances: &[Instance]) -> Vec<Record> {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_090);
        let fixed = |instance| {
            let mut record = record(instance, now);
            let created = record.iter_mut().find(|(key, _)| *key == "created").unwrap();
            assert_eq!(created.1.as_str().unwrap().len(), "2023-11-14 22:13.20".len());
            created.1 = json!("2023-11-14 22:13.20");
            record
        };
        instances.iter().map(fixed).collect()
    }

    fn single() -> Vec<Record> {
        let command = ("appCommand", "python3 a-long-command.py --now");
        records(&[instance("order", &[("cliPID", "11"), ("appPID", "12"), command])])
    }

    #[test]
    fn table_of_a_single_run() {
        assert_eq!(
            render(&single(), ""),
            "APP ID  HTTP PORT  GRPC PORT  APP PORT  COMMAND               AGE  CREATED              DAPRD PID  CLI PID  APP PID  \n\
             order   3510       50010      0         python3 a-long-co...  1m   2023-11-14 22:13.20  4242       11       12       \n"
        );
    }

    #[test]
    fn table_with_a_run_file() {
        let template = [
            ("cliPID", "11"),
            ("runTemplatePath", "/x/dapr.yaml"),
            ("appLogPath", "/x/a.log"),
            ("daprdLogPath", "/x/d.log"),
            ("runTemplateName", "shop"),
        ];
        let text = render(&records(&[instance("a", &template), instance("b", &[])]), "table");
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].ends_with("RUN TEMPLATE PATH  APP LOG PATH  DAPRD LOG PATH  RUNTEMPLATENAME  "),
            "{text}"
        );
        assert!(
            lines[1].ends_with("/x/dapr.yaml       /x/a.log      /x/d.log        shop             "),
            "{text}"
        );
        assert!(!text.contains("COMMAND"), "a blank column is dropped: {text}");
    }

    #[test]
    fn json_of_a_single_run() {
        assert_eq!(
            render(&single(), "json"),
            r#"[
  {
    "appId": "order",
    "httpPort": 3510,
    "grpcPort": 50010,
    "appPort": 0,
    "metricsEnabled": true,
    "command": "python3 a-long-co...",
    "age": "1m",
    "created": "2023-11-14 22:13.20",
    "daprdPid": 4242,
    "cliPid": 11,
    "appPid": 12,
    "maxRequestBodySize": 4194304,
    "httpReadBufferSize": 4096,
    "runTemplatePath": "",
    "appLogPath": "",
    "daprdLogPath": "",
    "runTemplateName": ""
  }
]"#
        );
    }

    #[test]
    fn yaml_of_a_single_run() {
        assert_eq!(
            render(&single(), "yaml"),
            "- appId: order\n  httpPort: 3510\n  grpcPort: 50010\n  appPort: 0\n  metricsEnabled: true\n  \
             command: python3 a-long-co...\n  age: 1m\n  created: 2023-11-14 22:13.20\n  daprdPid: 4242\n  cliPid: 11\n  \
             appPid: 12\n  maxRequestBodySize: 4194304\n  httpReadBufferSize: 4096\n  runTemplatePath: \"\"\n  \
             appLogPath: \"\"\n  daprdLogPath: \"\"\n  runTemplateName: \"\"\n"
        );
    }

    #[test]
    fn an_empty_list_in_every_format() {
        assert_eq!(render(&[], ""), "No Dapr instances found.\n");
        assert_eq!(render(&[], "table"), "No Dapr instances found.\n");
        assert_eq!(render(&[], "json"), "[]");
        assert_eq!(render(&[], "yaml"), "[]\n");
    }

    #[test]
    fn ages_change_unit_past_sixty() {
        for (seconds, text) in
            [(0, "0s"), (60, "60s"), (61, "1m"), (3600, "60m"), (3601, "1h"), (86400, "24h"), (180_000, "2d")]
        {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }
}
