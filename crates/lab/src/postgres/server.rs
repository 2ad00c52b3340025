//! What masters and slaves have in common: programs, settings, passwords, the process.
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::{DATABASE, Login, Options, Parts, STOP_WITHIN};
use crate::{
    folder, port,
    process::{self, Process},
    program::{self, User},
};

/// How long a server may take to accept connections, recovery included.
const START_WITHIN: Duration = Duration::from_secs(60);
/// How long a new data folder may take.
const INIT_WITHIN: Duration = Duration::from_secs(120);
/// How long statements of the lab's own may take.
const SQL_WITHIN: Duration = Duration::from_secs(30);
/// How often a start is tried when another program has taken the port.
const STARTS_MAX: u32 = 3;
/// The data folder, in the server's own.
const DATA: &str = "data";
/// Longer paths of Unix sockets the kernel does not take; PostgreSQL adds a name of up to 20 bytes.
const SOCKET_FOLDER_MAX: usize = 107 - 20;

/// What a server's folder says of it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Note {
    /// Whether its data was made to the end.
    pub(super) complete: bool,
    /// Where it listened last; 0 before it did.
    pub(super) port: u16,
    /// A slave's replication slot.
    pub(super) slot: Option<String>,
    passwords: Passwords,
}

impl Note {
    pub(super) fn new(passwords: Passwords, slot: Option<String>) -> Self {
        Self { complete: false, port: 0, slot, passwords }
    }
}

/// The roles' passwords. A slave has its master's.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Passwords {
    superuser: String,
    owner: String,
    reader: String,
    replica: String,
}

impl Passwords {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            superuser: folder::random_word()?,
            owner: folder::random_word()?,
            reader: folder::random_word()?,
            replica: folder::random_word()?,
        })
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passwords")
    }
}

/// One server of PostgreSQL in its folder.
#[derive(Debug)]
pub(super) struct Server {
    bin: PathBuf,
    user: Option<User>,
    folder: PathBuf,
    note: Note,
    options: Options,
    /// What only a slave has.
    following: Vec<String>,
    process: Option<Process>,
}

impl Server {
    /// A server that does not run yet, in a folder that is there.
    pub(super) fn new(folder: PathBuf, note: Note, options: Options) -> Result<Self> {
        let user = program::postgres_user()?;
        if let Some(user) = &user {
            folder::let_pass(&folder, user)?;
        }
        let bin = program::postgres_bin()?;
        process::sweep(&folder.join(DATA));
        Ok(Self { bin, user, folder, note, options, following: Vec::new(), process: None })
    }

    pub(super) fn port(&self) -> u16 {
        self.note.port
    }

    pub(super) fn slot(&self) -> Option<&str> {
        self.note.slot.as_deref()
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    pub(super) fn passwords(&self) -> &Passwords {
        &self.note.passwords
    }

    pub(super) fn parts(&self, login: Login) -> Parts {
        let passwords = &self.note.passwords;
        let (user, password) = match login {
            Login::Owner => ("gridesk", &passwords.owner),
            Login::Reader => ("gridesk_reader", &passwords.reader),
            Login::Superuser => ("postgres", &passwords.superuser),
        };
        Parts {
            host: "127.0.0.1".to_owned(),
            port: self.note.port,
            dbname: DATABASE.to_owned(),
            user: user.to_owned(),
            password: password.clone(),
        }
    }

    pub(super) fn write_note(&mut self, complete: bool) -> Result<()> {
        self.note.complete = complete;
        folder::write_note(&self.folder, &self.note)
    }

    fn data(&self) -> PathBuf {
        self.folder.join(DATA)
    }

    fn sockets(&self) -> PathBuf {
        self.folder.join("sockets")
    }

    fn pass_file(&self) -> PathBuf {
        self.folder.join("replica.pgpass")
    }

    fn command(&self, program: &str) -> Result<Command> {
        let mut command = program::tethered(&self.bin.join(program), self.user.as_ref())?;
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("PG")) {
                command.env_remove(name);
            }
        }
        command.env("LC_ALL", "C.UTF-8").current_dir(&self.folder);
        Ok(command)
    }

    /// Makes the data folder of a new master.
    pub(super) fn init(&self) -> Result<()> {
        self.renew_data_folder()?;
        let password = self.folder.join("superuser.password");
        folder::write_private(&password, &self.note.passwords.superuser)?;
        folder::hand_over(&password, self.user.as_ref())?;
        let mut command = self.command("initdb")?;
        command.arg("--pgdata").arg(self.data()).arg("--pwfile").arg(&password).args([
            "--username=postgres",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--data-checksums",
            "--no-sync",
        ]);
        let made = process::run("initdb", command, INIT_WITHIN);
        fs::remove_file(&password).ok();
        made.map(drop)
    }

    fn renew_data_folder(&self) -> Result<()> {
        folder::remove(&self.data())?;
        folder::create_owned(&self.data(), self.user.as_ref())
    }

    /// Makes the database and its roles.
    pub(super) fn make_database(&self) -> Result<()> {
        let Passwords { owner, reader, replica, .. } = &self.note.passwords;
        // Handed over in a file, since command lines can be seen by all.
        let file = self.folder.join("database.sql");
        let statements = format!(
            "CREATE ROLE gridesk LOGIN PASSWORD '{owner}';
             CREATE ROLE gridesk_reader LOGIN PASSWORD '{reader}';
             GRANT pg_read_all_data TO gridesk_reader;
             CREATE ROLE gridesk_replica LOGIN REPLICATION PASSWORD '{replica}';
             CREATE DATABASE {DATABASE} OWNER gridesk;"
        );
        folder::write_private(&file, &statements)?;
        folder::hand_over(&file, self.user.as_ref())?;
        let mut command = self.psql("postgres")?;
        command.arg("--file").arg(&file);
        let made = process::run("psql", command, SQL_WITHIN);
        fs::remove_file(&file).ok();
        made.map(drop)
    }

    /// Runs statements as superuser; without the last line's end.
    pub(super) fn sql(&self, database: &str, statements: &str) -> Result<String> {
        let mut command = self.psql(database)?;
        command.arg("--command").arg(statements);
        Ok(process::run("psql", command, SQL_WITHIN)?.trim_end().to_owned())
    }

    fn psql(&self, database: &str) -> Result<Command> {
        let mut command = self.command("psql")?;
        command
            .args(["--no-psqlrc", "--no-align", "--tuples-only", "--quiet", "--set=ON_ERROR_STOP=1"])
            .args(["--host=127.0.0.1", "--username=postgres"])
            .arg(format!("--port={}", self.note.port))
            .arg(format!("--dbname={database}"))
            .env("PGPASSWORD", &self.note.passwords.superuser)
            .env("PGCONNECT_TIMEOUT", "5")
            .env("PGOPTIONS", "-c synchronous_commit=local");
        Ok(command)
    }

    /// Writes the file by which a slave gets into its master.
    pub(super) fn write_pass_file(&self) -> Result<()> {
        let line = format!("127.0.0.1:*:*:gridesk_replica:{}\n", self.note.passwords.replica);
        folder::write_private(&self.pass_file(), &line)?;
        folder::hand_over(&self.pass_file(), self.user.as_ref())
    }

    /// Makes the data folder of a slave: a copy of the master at `port`, with a new slot there.
    pub(super) fn copy(&self, port: u16, within: Duration) -> Result<()> {
        self.renew_data_folder()?;
        let mut command = self.command("pg_basebackup")?;
        command
            .arg("--pgdata")
            .arg(self.data())
            .args(["--host=127.0.0.1", "--username=gridesk_replica", "--no-password"])
            .arg(format!("--port={port}"))
            .args(["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"])
            .arg("--create-slot")
            .arg(format!("--slot={}", self.slot().unwrap_or_default()))
            .env("PGPASSFILE", self.pass_file());
        process::run("pg_basebackup", command, within).map(drop)
    }

    /// Sets which master it follows. Said at each start, since the master's port may have changed.
    pub(super) fn follow(&mut self, port: u16) {
        let slot = self.slot().unwrap_or_default();
        let pass_file = self.pass_file();
        self.following = vec![
            format!(
                "primary_conninfo=host=127.0.0.1 port={port} user=gridesk_replica application_name={slot} \
                 passfile='{}'",
                pass_file.display()
            ),
            format!("primary_slot_name={slot}"),
            "hot_standby=on".to_owned(),
            "hot_standby_feedback=on".to_owned(),
            "wal_receiver_status_interval=1s".to_owned(),
            // A master that was restarted is found again at once.
            "wal_retrieve_retry_interval=200ms".to_owned(),
        ];
    }

    /// Starts it on its port, or on another if that is taken.
    pub(super) fn start_first(&mut self) -> Result<()> {
        let mut starts = 0;
        loop {
            self.note.port = port::free_or_other(self.note.port)?;
            starts += 1;
            match self.launch() {
                Err(_) if starts < STARTS_MAX && !port::is_free(self.note.port) => self.note.port = 0,
                ended => break ended,
            }
        }
    }

    /// Starts it again on its port.
    pub(super) fn restart(&mut self) -> Result<()> {
        self.stop();
        let mut starts = 0;
        loop {
            starts += 1;
            match self.launch() {
                Err(_) if starts < STARTS_MAX && !port::is_free(self.note.port) => {
                    // A connection of another program's may have it for a moment.
                    thread::sleep(Duration::from_secs(1));
                }
                ended => break ended,
            }
        }
    }

    fn launch(&mut self) -> Result<()> {
        let mut command = self.command("postgres")?;
        command.arg("-D").arg(self.data());
        for setting in self.settings() {
            command.arg("-c").arg(setting);
        }
        let state = self.data().join("postmaster.pid");
        // Left by one that was killed; nothing of the folder runs any more. The ids in these files may be others' by now.
        fs::remove_file(&state).ok();
        folder::remove(&self.sockets())?;
        folder::create_owned(&self.sockets(), self.user.as_ref())?;
        let ready = || {
            let lines = fs::read_to_string(&state).unwrap_or_default();
            lines.lines().nth(7).is_some_and(|word| word.trim() == "ready")
        };
        let log = self.folder.join("postgres.log");
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("PostgreSQL {name}");
        let process = Process::start(&name, command, &log, START_WITHIN, ready)?;
        // Killed, it would leave its shared memory in the kernel.
        self.process = Some(process.with_last_word(Signal::QUIT));
        Ok(())
    }

    fn settings(&self) -> Vec<String> {
        let options = &self.options;
        let sockets = self.sockets().display().to_string();
        let sockets = if sockets.len() > SOCKET_FOLDER_MAX { String::new() } else { sockets };
        let waited_for = match options.synchronous_slaves {
            0 => String::new(),
            count => format!("ANY {count} (*)"),
        };
        let mut settings = vec![
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={}", self.note.port),
            format!("unix_socket_directories={sockets}"),
            "fsync=on".to_owned(),
            "full_page_writes=on".to_owned(),
            "wal_level=replica".to_owned(),
            "password_encryption=scram-sha-256".to_owned(),
            format!("max_wal_senders={}", options.max_wal_senders),
            format!("max_replication_slots={}", options.max_wal_senders),
            // A slave that is away for good must not fill the disk.
            "max_slot_wal_keep_size=2GB".to_owned(),
            format!("max_connections={}", options.max_connections),
            format!("shared_buffers={}MB", options.shared_buffers_mib),
            format!("synchronous_commit={}", options.synchronous_commit.as_str()),
            format!("synchronous_standby_names={waited_for}"),
            // After a kill: not every file by itself, of which there are a thousand.
            "recovery_init_sync_method=syncfs".to_owned(),
            // In files below the data folder, which go with it.
            "dynamic_shared_memory_type=mmap".to_owned(),
            "logging_collector=off".to_owned(),
            "log_destination=stderr".to_owned(),
        ];
        settings.extend(self.following.iter().cloned());
        settings.extend(options.settings.iter().map(|(name, value)| format!("{name}={value}")));
        settings
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
            self.free_shared_memory();
        }
    }

    /// A killed PostgreSQL leaves a segment of shared memory in the kernel: small, but of these there are only so many.
    fn free_shared_memory(&self) {
        let state = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let segment = state.lines().nth(6).and_then(|keys| keys.split_whitespace().nth(1));
        if let Some(segment) = segment {
            Command::new("ipcrm").args(["--shmem-id", segment]).output().ok();
        }
    }

    pub(super) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop(Signal::INT, STOP_WITHIN);
        }
    }

    pub(super) fn stall(&mut self) -> Result<()> {
        self.process.as_mut().context("it does not run")?.stall()
    }

    pub(super) fn go_on(&mut self) {
        if let Some(process) = &mut self.process {
            process.go_on();
        }
    }

    pub(super) fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }
}
