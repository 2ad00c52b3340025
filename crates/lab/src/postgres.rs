//! PostgreSQL: a master and its slaves, with streaming replication.
use std::{fmt, path::Path, time::Duration};

use anyhow::{Context, Result, bail};

use self::server::{Note, Passwords, Server};
use crate::{folder, process::wait_until};

mod server;

/// The name of the database, and of the role that owns it.
pub const DATABASE: &str = "gridesk";

/// How long a slave may take to find its master and to catch up with it.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(60);
/// How long a copy of a master may take.
const COPY_WITHIN: Duration = Duration::from_secs(300);
/// How long stopping in order may take, before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// What the servers are started with. The slaves take their master's.
#[derive(Clone, Debug)]
pub struct Options {
    /// Memory for pages, in MiB.
    pub shared_buffers_mib: u32,
    /// How many connections at most.
    pub max_connections: u32,
    /// How many slaves, and copies being made, at most.
    pub max_wal_senders: u32,
    /// What a commit waits for.
    pub synchronous_commit: SynchronousCommit,
    /// How many slaves must have what `synchronous_commit` names, any of them; 0: none is waited for. While fewer are
    /// there, commits wait.
    pub synchronous_slaves: u32,
    /// Further settings, by name; they override the lab's own.
    pub settings: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            shared_buffers_mib: 32,
            max_connections: 100,
            max_wal_senders: 10,
            synchronous_commit: SynchronousCommit::On,
            synchronous_slaves: 0,
            settings: Vec::new(),
        }
    }
}

/// What a commit waits for: PostgreSQL's `synchronous_commit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SynchronousCommit {
    /// Nothing: the last commits before a crash may be lost.
    Off,
    /// The master's own disk.
    Local,
    /// And the synchronous slaves' memory.
    RemoteWrite,
    /// And the synchronous slaves' disks.
    On,
    /// And until it is visible on the synchronous slaves.
    RemoteApply,
}

impl SynchronousCommit {
    fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Local => "local",
            Self::RemoteWrite => "remote_write",
            Self::On => "on",
            Self::RemoteApply => "remote_apply",
        }
    }
}

/// As whom to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// `gridesk`, which owns the database.
    Owner,
    /// `gridesk_reader`, which may read all.
    Reader,
    /// `postgres`, which may all.
    Superuser,
}

/// What a driver needs to connect. `Display` gives libpq's form, `host=… port=… dbname=… user=… password=…`, which
/// tokio-postgres reads.
#[derive(Clone, PartialEq, Eq)]
pub struct Parts {
    /// An IP address.
    pub host: String,
    /// Where it listens.
    pub port: u16,
    /// The database.
    pub dbname: String,
    /// The role.
    pub user: String,
    /// The role's password: hexadecimal digits, so that it needs no quotes anywhere.
    pub password: String,
}

impl Parts {
    /// As a URL: `postgres://user:password@host:port/dbname`.
    pub fn url(&self) -> String {
        let Self { host, port, dbname, user, password } = self;
        format!("postgres://{user}:{password}@{host}:{port}/{dbname}")
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, dbname, user, password } = self;
        write!(f, "host={host} port={port} dbname={dbname} user={user} password={password}")
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, dbname, user, .. } = self;
        write!(f, "host={host} port={port} dbname={dbname} user={user}")
    }
}

/// A server that takes writes.
#[derive(Debug)]
pub struct Master {
    server: Server,
}

impl Master {
    /// Starts the master that lives in `folder`. In an empty folder, or none, it is made first: data pages with
    /// checksums, the database `gridesk`, its roles with passwords of their own. One that is there keeps its data, its
    /// passwords and, where it is still free, its port.
    ///
    /// # Errors
    /// PostgreSQL is not installed or too old; the folder holds something else; it does not start within a minute.
    pub fn start(folder: &Path, options: &Options) -> Result<Self> {
        let folder = folder::create(folder)?;
        let note: Option<Note> = folder::note(&folder)?;
        let is_made = note.as_ref().is_some_and(|note| note.complete);
        let note = match note {
            Some(note) if note.slot.is_some() => bail!("{} is a slave's folder", folder.display()),
            Some(note) => note,
            None => Note::new(Passwords::new()?, None),
        };
        let mut server = Server::new(folder, note, options.clone())?;
        if !is_made {
            server.write_note(false)?;
            server.init()?;
        }
        server.start_first()?;
        if !is_made {
            server.make_database()?;
        }
        server.write_note(true)?;
        Ok(Self { server })
    }

    /// As a URL, for the database's owner.
    pub fn url(&self) -> String {
        self.parts(Login::Owner).url()
    }

    /// What a driver needs to connect.
    pub fn parts(&self, login: Login) -> Parts {
        self.server.parts(login)
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// The folder it lives in.
    pub fn folder(&self) -> &Path {
        self.server.folder()
    }

    /// Runs statements as superuser in the database `gridesk` and gives what they print, by `psql -At`. Its commits
    /// wait for no slave.
    ///
    /// # Errors
    /// When it has not done them within half a minute, or says no.
    pub fn sql(&self, statements: &str) -> Result<String> {
        self.server.sql(DATABASE, statements)
    }

    /// Kills it and all its children (SIGKILL). What was not yet written out is lost, as when the program crashes; what
    /// the kernel holds is not.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again on its port, after [`Master::kill`], [`Master::stop`], or in full run.
    ///
    /// # Errors
    /// When it does not start within a minute, recovery included, or its port is taken.
    pub fn restart(&mut self) -> Result<()> {
        self.server.restart()
    }

    /// Stops it in order: under way is rolled back, slaves get all that is written.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Freezes it and all its children (SIGSTOP), as when a machine hangs: connections stay, nobody answers.
    ///
    /// # Errors
    /// When it does not run.
    pub fn stall(&mut self) -> Result<()> {
        self.server.stall()
    }

    /// Lets it go on after [`Master::stall`].
    pub fn go_on(&mut self) {
        self.server.go_on();
    }

    /// Whether it runs, frozen or not.
    pub fn is_running(&mut self) -> bool {
        self.server.is_running()
    }
}

/// A server that follows a master, and takes reads.
#[derive(Debug)]
pub struct Slave {
    server: Server,
    upstream: Upstream,
}

/// What a slave knows of its master.
#[derive(Clone, Debug)]
struct Upstream {
    port: u16,
}

impl Slave {
    /// Starts the slave that lives in `folder`; in an empty folder, or none, as a copy of `master`, with a replication
    /// slot of its own there. Returns when it accepts connections; it may still be catching up.
    ///
    /// # Errors
    /// The master cannot be copied; the folder holds something else; it does not start within a minute.
    pub fn of(master: &Master, folder: &Path) -> Result<Self> {
        let folder = folder::create(folder)?;
        let from = &master.server;
        let note: Option<Note> = folder::note(&folder)?;
        let is_made = note.as_ref().is_some_and(|note| note.complete);
        let note = match note {
            Some(note) if note.slot.is_none() => bail!("{} is a master's folder", folder.display()),
            Some(note) => note,
            None => {
                let word = folder::random_word()?;
                Note::new(from.passwords().clone(), Some(format!("slave_{}", &word[..8])))
            }
        };
        let server = Server::new(folder, note, from.options().clone())?;
        let mut slave = Self { server, upstream: Upstream { port: master.port() } };
        slave.server.write_pass_file()?;
        if !is_made {
            slave.server.write_note(false)?;
            slave.copy(master)?;
        }
        slave.server.follow(slave.upstream.port);
        slave.server.start_first()?;
        slave.server.write_note(true)?;
        Ok(slave)
    }

    /// As a URL, for the role that reads.
    pub fn url(&self) -> String {
        self.parts(Login::Reader).url()
    }

    /// What a driver needs to connect.
    pub fn parts(&self, login: Login) -> Parts {
        self.server.parts(login)
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// The folder it lives in.
    pub fn folder(&self) -> &Path {
        self.server.folder()
    }

    /// Its name at the master: that of its replication slot, and its `application_name`.
    pub fn name(&self) -> &str {
        self.server.slot().unwrap_or_default()
    }

    /// Runs statements as superuser in the database `gridesk` and gives what they print, by `psql -At`.
    ///
    /// # Errors
    /// When it has not done them within half a minute, or says no.
    pub fn sql(&self, statements: &str) -> Result<String> {
        self.server.sql(DATABASE, statements)
    }

    /// Lets it show nothing newer from now on: it goes on receiving, and no longer replays.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn pause_replay(&self) -> Result<()> {
        self.sql("SELECT pg_wal_replay_pause()")?;
        let is_paused =
            || self.sql("SELECT pg_get_wal_replay_pause_state()").is_ok_and(|said| said == "paused");
        match wait_until(CATCH_UP_WITHIN, is_paused) {
            true => Ok(()),
            false => bail!("{} does not pause its replay", self.name()),
        }
    }

    /// Lets it replay again, after [`Slave::pause_replay`].
    ///
    /// # Errors
    /// When it does not answer.
    pub fn resume_replay(&self) -> Result<()> {
        self.sql("SELECT pg_wal_replay_resume()").map(drop)
    }

    /// Waits until it shows all that is committed on the master now.
    ///
    /// # Errors
    /// When it does not within a minute, or either does not answer.
    pub fn catch_up(&self, master: &Master) -> Result<()> {
        let position = master.sql("SELECT pg_current_wal_flush_lsn()")?;
        let shows = format!("SELECT coalesce(pg_last_wal_replay_lsn() >= '{position}'::pg_lsn, false)");
        match wait_until(CATCH_UP_WITHIN, || self.sql(&shows).is_ok_and(|said| said == "t")) {
            true => Ok(()),
            false => bail!("{} does not catch up within {} s", self.name(), CATCH_UP_WITHIN.as_secs()),
        }
    }

    /// Wipes its data and copies the master anew, under the same name and port. For a slave that lost its place.
    ///
    /// # Errors
    /// When the master cannot be copied, or the copy does not start.
    pub fn reinitialise(&mut self, master: &Master) -> Result<()> {
        self.server.kill();
        self.server.write_note(false)?;
        self.copy(master)?;
        self.upstream = Upstream { port: master.port() };
        self.server.follow(self.upstream.port);
        self.server.restart()?;
        self.server.write_note(true)
    }

    fn copy(&mut self, master: &Master) -> Result<()> {
        let slot = self.name().to_owned();
        let gone = format!(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots
                WHERE slot_name = '{slot}' AND active_pid IS NOT NULL;
             SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
                WHERE slot_name = '{slot}' AND active_pid IS NULL;
             SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{slot}'"
        );
        let is_gone = || master.sql(&gone).is_ok_and(|said| said.lines().last() == Some("0"));
        if !wait_until(Duration::from_secs(10), is_gone) {
            // Its reason, rather than that it took long.
            master.sql(&gone)?;
            bail!("replication slot {slot} stays in use");
        }
        self.server.copy(master.port(), COPY_WITHIN).context("the master cannot be copied")
    }

    /// Kills it and all its children (SIGKILL).
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again on its port, after [`Slave::kill`], [`Slave::stop`], or in full run.
    ///
    /// # Errors
    /// When it does not start within a minute, or its port is taken.
    pub fn restart(&mut self) -> Result<()> {
        self.server.restart()
    }

    /// Stops it in order.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Freezes it and all its children (SIGSTOP), as when a machine hangs.
    ///
    /// # Errors
    /// When it does not run.
    pub fn stall(&mut self) -> Result<()> {
        self.server.stall()
    }

    /// Lets it go on after [`Slave::stall`].
    pub fn go_on(&mut self) {
        self.server.go_on();
    }

    /// Whether it runs, frozen or not.
    pub fn is_running(&mut self) -> bool {
        self.server.is_running()
    }
}
