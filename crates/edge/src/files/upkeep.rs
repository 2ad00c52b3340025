//! What is done about files besides: the center is told what will not come, and bytes of no more use are removed.
use std::{collections::HashMap, time::Duration};

use protocol::Problem;
use tokio_util::sync::CancellationToken;

use super::{Files, FilesError, blocking, broken, records::Trail};

const ROUND: Duration = Duration::from_secs(20);
/// Rows of files that are over are kept this long, in ms: for who asks what became of theirs.
const KNOWN_MS: u64 = 90 * 24 * 3600 * 1000;

impl Files {
    /// Does it until `stop`.
    pub(super) async fn upkeep(self, stop: CancellationToken) {
        if let Err(error) = self.check_trail().await {
            tracing::error!(%error, "the audit trail was not looked through");
        }
        let mut round = tokio::time::interval(ROUND);
        while !stop.is_cancelled() {
            let done = tokio::select! {
                () = self.0.ended.notified() => self.see_off().await,
                _ = round.tick() => self.upkeep_round().await,
                () = stop.cancelled() => return,
            };
            if let Err(problem) = done {
                tracing::warn!(%problem, "upkeep of files goes on in a moment");
            }
        }
    }

    /// At a start, before anybody can send: bytes without a row go (nobody was told of them), a row without its bytes ends as
    /// lost. Later this would take the bytes of a file whose row is just being written.
    pub(super) async fn reconcile(&self) -> Result<(), FilesError> {
        let rows: HashMap<_, _> =
            self.0.records.on_disk().await?.into_iter().map(|(id, len, stage)| (id, (len, stage))).collect();
        let (bodies, known) = (self.0.bodies.clone(), rows.clone());
        let lost = blocking(move || {
            for id in bodies.all()? {
                if !known.contains_key(&id) {
                    tracing::info!(file = %id, "bytes without a row are removed");
                    bodies.remove(id)?;
                }
            }
            let mut lost = Vec::new();
            for (id, (len, stage)) in known {
                if !stage.is_over() && bodies.len(id)?.is_none_or(|found| found < len) {
                    lost.push((id, stage));
                }
            }
            Ok(lost)
        })
        .await?;
        for (id, stage) in lost {
            tracing::error!(file = %id, "the bytes of a file are lost");
            self.end(id, stage, self.decision("rules", "lost", "lost")).await.ok();
        }
        Ok(())
    }

    /// Looks whether the trail of decisions is what was written, part by part, so that nobody waits for all of it.
    async fn check_trail(&self) -> Result<(), FilesError> {
        let (mut last, mut before) = (0, [0; 32]);
        loop {
            match self.0.records.check_trail(last, before).await? {
                Trail::GoesOn(n, hash) => (last, before) = (n, hash),
                Trail::Ended => return Ok(()),
                Trail::Broken(n) => {
                    tracing::error!(n, "the audit trail does not hold: this row is not what was written");
                    metrics::gauge!("edge_audit_trail_broken").set(1.0);
                    return Ok(());
                }
            }
        }
    }

    /// What time alone brings about.
    async fn upkeep_round(&self) -> Result<(), Problem> {
        let (records, now_ms) = (&self.0.records, self.now_ms());
        for record in records.overdue(now_ms).await.map_err(|error| broken(&error))? {
            self.end(record.id, record.stage, self.decision("rules", "expired", "expired")).await?;
        }
        self.see_off().await?;
        self.sweep_fetched().await?;
        records.forget(now_ms.saturating_sub(KNOWN_MS)).await.map_err(|error| broken(&error))?;
        for (stage, files, bytes) in records.counts().await.map_err(|error| broken(&error))? {
            metrics::gauge!("edge_files", "stage" => stage.name()).set(files as f64);
            metrics::gauge!("edge_files_bytes", "stage" => stage.name()).set(bytes as f64);
        }
        Ok(())
    }

    /// Tells the center what will not come, and removes the bytes of what is over.
    async fn see_off(&self) -> Result<(), Problem> {
        let records = &self.0.records;
        for record in records.untold().await.map_err(|error| broken(&error))? {
            match self.tell_result(&record).await {
                Ok(()) => {}
                // Such an answer will be the same every time.
                Err(problem)
                    if (400..500).contains(&problem.code.status()) && problem.code.status() != 429 =>
                {
                    tracing::warn!(file = %record.id, %problem, "the center does not want to know");
                }
                // Away: all of them are told in the next round.
                Err(_) => break,
            }
            records.told(record.id).await.map_err(|error| broken(&error))?;
        }
        let kept_ms = u64::try_from(self.0.settings.keep_after_receipt.0.as_millis()).unwrap_or(u64::MAX);
        let before_ms = self.now_ms().saturating_sub(kept_ms);
        for id in records.to_remove(before_ms).await.map_err(|error| broken(&error))? {
            // Nobody writes to it any more; bytes gone and the row not yet saying so are gone again.
            let Some(_held) = self.hold(id).await else { continue };
            let bodies = self.0.bodies.clone();
            blocking(move || bodies.remove(id)).await.map_err(|error| broken(&error))?;
            records.removed(id).await.map_err(|error| broken(&error))?;
        }
        Ok(())
    }
}
