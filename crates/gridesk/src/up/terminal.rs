//! `gridesk up` as its user sees it: progress, the summary, Ctrl-C.
use std::{
    io::{IsTerminal, Write},
    path::Path,
    time::Duration,
};

use runtime::shutdown::Shutdown;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Addresses, Options, System, UpError, Waiting, control::Control};

/// Runs the system until Ctrl-C (or SIGTERM). With `json` its addresses are one line on standard output; all else goes
/// to standard error.
///
/// # Errors
/// [`UpError`]; everything that had been started is stopped.
pub async fn command(options: Options, json: bool) -> Result<(), UpError> {
    let io = |source| UpError::Io { what: "cannot listen to signals", source };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(io)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(io)?;
    let shutdown = Shutdown::new();
    // Where `up` is itself a child (of a test), it must not outlive its parent either.
    runtime::supervise::exit_when_parent_dies(&shutdown, Duration::from_secs(30));

    let mut system = System::start(&options)?;
    let ran = tokio::select! {
        ran = serve(&mut system, &shutdown, &options, json) => ran,
        () = either(&mut interrupt, &mut terminate) => Ok(()),
        () = shutdown.begun() => Ok(()),
    };
    clear_progress();
    eprintln_quietly("Stopping; Ctrl-C again kills.");
    tokio::select! {
        () = system.stop() => {}
        () = either(&mut interrupt, &mut terminate) => {
            // The stop was dropped, which kills the children; they need a moment to be reaped.
            eprintln_quietly("Killed.");
            tokio::time::sleep(Duration::from_millis(200)).await;
            std::process::exit(130);
        }
    }
    ran
}

async fn serve(
    system: &mut System,
    shutdown: &Shutdown,
    options: &Options,
    json: bool,
) -> Result<(), UpError> {
    let mut control = Control::listen(system.places(), shutdown)?;
    let addresses = system.ready(shutdown, show_progress).await?;
    clear_progress();
    let text = if json {
        serde_json::to_string(&addresses).unwrap_or_default() + "\n"
    } else {
        summary(&addresses, &options.data)
    };
    // A closed standard output is no reason to stop serving.
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
    drop(out);
    Err(control.obey(system).await)
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

fn summary(addresses: &Addresses, data: &Path) -> String {
    let Addresses { portal, inbox, api, phones, audit, audit_password } = addresses;
    let log_in = if phones.is_empty() {
        "  No demonstration customers here. Log in with any phone; the code appears in the inbox.\n"
            .to_owned()
    } else {
        let list: Vec<_> = phones.iter().take(3).map(|phone| phone.as_str()).collect();
        format!(
            "  Log in with a demonstration phone; the code appears in the inbox:\n\n    {}\n",
            list.join("   ")
        )
    };
    format!(
        "\nGridesk is running.\n\n  \
           Portal   {portal}\n  \
           API      {api}\n  \
           Inbox    {inbox}   (样例: a simulated phone network and payment provider)\n\n\
         {log_in}\n  \
           Audit    {audit}   (name: auditor, password in {audit_password})\n  \
           Data     {}\n  \
           Logs     {}\n\n\
         Ctrl-C stops.\n",
        data.display(),
        data.join("logs").display(),
    )
}

/// One line that is written over where there is a terminal; a line for each change where there is none.
fn show_progress(waiting: &Waiting) {
    let parts: Vec<_> = waiting.iter().map(|(role, reason)| format!("{role} ({reason})")).collect();
    let line = format!("Starting: {}", parts.join(", "));
    if std::io::stderr().is_terminal() {
        let line: String = line.chars().take(100).collect();
        write!(std::io::stderr().lock(), "\r\x1b[2K{line}").ok();
    } else {
        eprintln_quietly(&line);
    }
}

fn clear_progress() {
    if std::io::stderr().is_terminal() {
        write!(std::io::stderr().lock(), "\r\x1b[2K").ok();
    }
}

/// `eprintln!` panics where standard error is closed.
fn eprintln_quietly(line: &str) {
    writeln!(std::io::stderr().lock(), "{line}").ok();
}
