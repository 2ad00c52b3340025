//! The baseline: an rsync daemon on the loopback, whole files, each flushed.
use std::{
    fs::{self, File},
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::Content;
use crate::bench::{
    During, Result,
    load::READY_WITHIN,
    site::{Child, Site},
};

/// Copies `from` into `to` on the same disk.
pub(super) struct Daemon<'a> {
    site: &'a Site,
    _daemon: Child,
    address: SocketAddr,
}

impl<'a> Daemon<'a> {
    pub(super) fn start(site: &'a Site) -> Result<Self> {
        const DOING: &str = "starting rsync, which files are measured beside";
        let known = Command::new("rsync").arg("--version").stdout(Stdio::null()).status();
        if !known.is_ok_and(|status| status.success()) {
            return Err("it is not there: install the package rsync").during(DOING);
        }
        let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).during(DOING)?;
        fs::create_dir(site.path("to")).during(DOING)?;
        let own = if rustix::process::geteuid().is_root() { "uid = 0\ngid = 0\n" } else { "" };
        let to = site.path("to");
        let config = format!(
            "address = 127.0.0.1\nport = {}\nuse chroot = no\n{own}[to]\npath = {}\nread only = no\n",
            address.port(),
            to.display()
        );
        let file = site.path("rsyncd.conf");
        fs::write(&file, config).during(DOING)?;
        let mut command = Command::new("rsync");
        command.args(["--daemon", "--no-detach"]).arg(format!("--config={}", file.display()));
        let daemon = site.program("rsyncd", &mut command)?;
        let until = Instant::now() + READY_WITHIN;
        while TcpStream::connect(address).is_err() {
            if Instant::now() > until {
                return Err(daemon.last_words()).during(DOING);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Daemon { site, _daemon: daemon, address })
    }

    /// Lays out what is copied next.
    pub(super) fn take(&mut self, files: &[Content]) -> Result<()> {
        const DOING: &str = "laying out files";
        let from = self.site.path("from");
        fs::remove_dir_all(&from).ok();
        fs::create_dir(&from).during(DOING)?;
        for (n, file) in files.iter().enumerate() {
            let place = from.join(format!("{n}.{}", file.ending));
            File::create(&place).and_then(|mut to| to.write_all(&file.bytes)).during(DOING)?;
        }
        Ok(())
    }

    /// How long that takes.
    pub(super) fn copy(&self, shrink: bool) -> Result<Duration> {
        self.site.check()?;
        rustix::fs::sync();
        let began = Instant::now();
        let mut command = Command::new("rsync");
        command.args(["--recursive", "--whole-file", "--fsync"]);
        if shrink {
            command.args(["--compress", "--compress-choice=zstd", "--compress-level=1"]);
        }
        command.arg(format!("{}/", self.site.path("from").display()));
        command.arg(format!("rsync://{}/to/", self.address));
        self.site.program("rsync", &mut command)?.ended("copying by rsync")?;
        let took = began.elapsed();
        let to = self.site.path("to");
        for file in fs::read_dir(&to).during("clearing up")? {
            fs::remove_file(file.during("clearing up")?.path()).during("clearing up")?;
        }
        Ok(took)
    }
}
