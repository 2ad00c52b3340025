//! What stands before the center: gates, and the edge.
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use toml::Table;

use super::{
    During, Result,
    load::{Http, READY_WITHIN, on_one_thread},
    site::{Child, Site},
};

/// Both halves of each gate.
pub(super) struct Gates {
    halves: Vec<[Child; 2]>,
    rules: Table,
}

impl Gates {
    /// Starts so many, which inspect files by `rules`.
    pub(super) fn start(site: &Site, gates: usize, rules: &Table) -> Result<Self> {
        let both = |n| Ok([site.outer(n)?, site.inner(n, rules.clone())?]);
        Ok(Gates { halves: (0..gates).map(both).collect::<Result<_>>()?, rules: rules.clone() })
    }

    pub(super) fn len(&self) -> usize {
        self.halves.len()
    }

    /// The processes of all halves.
    pub(super) fn processes(&self) -> impl Iterator<Item = u32> {
        self.halves.iter().flatten().map(Child::id)
    }

    /// Where edges send messages.
    pub(super) fn sockets(&self, site: &Site) -> Vec<PathBuf> {
        (0..self.len()).map(|n| site.edge_socket(n)).collect()
    }

    /// Kills one of all halves, and starts it anew.
    pub(super) fn kill(&mut self, site: &Site, half: usize) -> Result<()> {
        let (n, inner) = (half / 2 % self.len(), half % 2 == 1);
        let one = &mut self.halves[n][usize::from(inner)];
        one.kill();
        *one = if inner { site.inner(n, self.rules.clone())? } else { site.outer(n)? };
        Ok(())
    }

    /// Why the first of them did not get ready.
    pub(super) fn last_words(&self) -> String {
        self.halves[0][0].last_words()
    }
}

/// Starts an edge on a free port before the gates in a folder, and waits until it and what is behind it answer.
pub(super) fn start_edge(site: &Site, gates: &Path, data: &str, files: Table) -> Result<(Child, SocketAddr)> {
    let free =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).during("a free port")?;
    let edge = site.edge(free.port(), gates, data, files)?;
    let ready = async {
        let until = tokio::time::Instant::now() + READY_WITHIN;
        loop {
            let answered = async {
                let mut connection = Http::connect(free).await?;
                connection.ask(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await.map(drop)
            };
            match answered.await {
                Ok(()) => return Ok(()),
                Err(_) if tokio::time::Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(50)).await
                }
                Err(error) => {
                    return Err(format!("{error}; {}", edge.last_words())).during("starting the edge");
                }
            }
            site.check()?;
        }
    };
    on_one_thread(ready)?;
    Ok((edge, free))
}
