//! A clock that jumps: one node sees another time of day than all others.
use std::{
    path::PathBuf,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

/// The second node's clock.
pub(crate) struct Clock {
    folder: tempfile::TempDir,
}

impl Clock {
    /// One that goes right.
    pub(crate) fn make() -> Clock {
        let clock = Clock { folder: tempfile::tempdir().unwrap() };
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/clock.c");
        let mut made = Command::new("cc");
        made.args(["-shared", "-fPIC", "-O1", "-o"]).arg(clock.library()).arg(source).arg("-ldl");
        let made = made.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        clock.jump(0);
        clock
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("clock.so")
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ahead_ms")
    }

    /// What has to be in the environment of the node.
    pub(crate) fn environment(&self) -> [(&'static str, String); 3] {
        [
            ("LD_PRELOAD", self.library().display().to_string()),
            ("TEST_CLOCK_FILE", self.file().display().to_string()),
            ("TEST_CLOCK_NODE", "center-2.toml".to_owned()),
        ]
    }

    /// The node's clock is so far ahead from now on.
    pub(crate) fn jump(&self, ahead_ms: i64) {
        use std::{io::Write, os::unix::fs::FileExt};
        let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(self.file());
        let mut file = file.unwrap();
        // In place: the node has mapped it.
        file.write_all_at(&ahead_ms.to_le_bytes(), 0).unwrap();
        file.flush().unwrap();
    }
}

#[test]
fn the_clock_of_the_named_node_jumps_and_no_other() {
    let clock = Clock::make();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
    // Who has the node's name in its command line is the node.
    let seen_by = |name: &str| {
        let mut date = Command::new("date");
        date.args(["+%s", "--date=now"]).envs(clock.environment()).env("TEST_CLOCK_NODE", name);
        let text = String::from_utf8(date.output().unwrap().stdout).unwrap();
        text.trim().parse::<i64>().unwrap()
    };
    for ahead_ms in [-90_000, 90_000] {
        clock.jump(ahead_ms);
        let off = seen_by("--date=now") - now();
        assert!((off - ahead_ms / 1000).abs() <= 2, "{off}");
        assert!((seen_by("another") - now()).abs() <= 2);
    }
}
