//! Logs, and the two names by which a request is followed through every hop.
//!
//! Log lines go to standard error, one event a line, each with the name of its program. What is logged is chosen by
//! `GRIDESK_LOG` in the form of `tracing`'s `EnvFilter` (`info,gridesk_gate=debug`).

use std::fmt;
use std::io::IsTerminal;
use std::str::FromStr;

use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

mod ids;

pub use ids::{RequestId, TraceContext, TraceError};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = TelemetryError;

    fn from_str(text: &str) -> Result<Self, TelemetryError> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(TelemetryError::Format),
        }
    }
}

/// Sends this process's log lines to standard error, each marked with `service` (`edge`, `gate-inner`, …).
///
/// # Errors
/// [`TelemetryError`] when `GRIDESK_LOG` cannot be read, or logs have been set up already.
pub fn init(service: &str, format: LogFormat) -> Result<(), TelemetryError> {
    let filter = match std::env::var("GRIDESK_LOG") {
        Ok(text) => EnvFilter::try_new(text)?,
        Err(_) => EnvFilter::new("info"),
    };
    // A write that fails must stay silent: the default complains on standard error itself, which panics once the
    // reader of the pipe, a supervisor, is dead; and that is when a program has to end in order.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .log_internal_errors(false);
    let service = service.to_owned();
    let base = tracing_subscriber::fmt::format();
    match format {
        LogFormat::Human => builder.event_format(HumanLine { service, inner: base }).try_init(),
        LogFormat::Json => builder
            .fmt_fields(JsonFields::new())
            .event_format(JsonLine { service, inner: base.json().flatten_event(true) })
            .try_init(),
    }
    .map_err(TelemetryError::Twice)
}

/// Why logs cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `GRIDESK_LOG` is no filter.
    #[error("GRIDESK_LOG: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The log format is not known.
    #[error("the log format must be human or json")]
    Format,
    /// They were set up before.
    #[error("logs: {0}")]
    Twice(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// `edge 2026-01-01T00:00:00Z  INFO …`
struct HumanLine<F> {
    service: String,
    inner: F,
}

impl<S, N, F> FormatEvent<S, N> for HumanLine<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "{} ", self.service)?;
        self.inner.format_event(context, writer, event)
    }
}

/// `{"service":"edge","timestamp":…}`
struct JsonLine<F> {
    service: String,
    inner: F,
}

impl<S, N, F> FormatEvent<S, N> for JsonLine<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::with_capacity(256);
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        let service = serde_json::Value::from(self.service.as_str());
        match line.strip_prefix('{') {
            Some(rest) => write!(writer, "{{\"service\":{service},{rest}"),
            None => writer.write_str(&line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(subscriber: impl Subscriber + Send + Sync + 'static, lines: &Lines) -> String {
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(request_id = "r1", "read done\nnext");
        });
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn every_line_names_its_service() {
        let lines = Lines::default();
        let writer = lines.clone();
        let base = tracing_subscriber::fmt::format;
        let human = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .event_format(HumanLine { service: "edge".into(), inner: base() })
            .finish();
        let text = logged(human, &lines);
        assert!(text.starts_with("edge 2") && text.contains("request_id=\"r1\""), "{text}");

        let lines = Lines::default();
        let writer = lines.clone();
        let json = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .fmt_fields(JsonFields::new())
            .event_format(JsonLine { service: "ed\"ge".into(), inner: base().json().flatten_event(true) })
            .finish();
        let value: serde_json::Value = serde_json::from_str(&logged(json, &lines)).unwrap();
        assert_eq!((&value["service"], &value["request_id"]), (&"ed\"ge".into(), &"r1".into()));
        assert_eq!(value["message"], "read done\nnext");
    }
}
