//! What the checks look at: the workspace's packages and the files that git would carry.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cargo_metadata::{Metadata, MetadataCommand};

/// The platform whose dependency graph is checked: where Gridesk runs.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// The source tree.
pub(crate) struct Tree {
    pub(crate) root: PathBuf,
    pub(crate) metadata: Metadata,
}

/// A text file of the tree.
#[derive(Clone, Debug)]
pub(crate) struct TextFile {
    /// From the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Tree {
    pub(crate) fn find() -> Result<Self> {
        // Locked: a Cargo.lock that does not fit the manifests must fail here rather than be changed unseen.
        let metadata = MetadataCommand::new()
            .other_options(["--locked".to_owned(), format!("--filter-platform={PLATFORM}")])
            .exec()
            .context("cargo metadata --locked (is Cargo.lock committed and up to date?)")?;
        Ok(Self { root: metadata.workspace_root.clone().into_std_path_buf(), metadata })
    }

    /// The names of all packages that `package` links with its default features: of itself alone, not with the
    /// features that other members of the workspace would turn on.
    pub(crate) fn linked_by(&self, package: &str) -> Result<Vec<String>> {
        let arguments = ["tree", "--locked", "--edges=normal", "--prefix=none", "--format={p}"];
        let listed =
            self.output(
                Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
                    .args(arguments)
                    .args(["--target", PLATFORM, "--package", package]),
            )?;
        let mut names: Vec<_> = listed
            .lines()
            .filter_map(|line| line.split(' ').next())
            .filter(|name| !name.is_empty() && *name != package)
            .map(str::to_owned)
            .collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// All text files that git carries or would carry.
    pub(crate) fn text_files(&self) -> Result<Vec<TextFile>> {
        let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"];
        let listed = self.output(Command::new("git").args(arguments))?;
        let mut files = Vec::new();
        for path in listed.split('\0').filter(|path| !path.is_empty()) {
            // Deleted but still in the index, a link, or no text: nothing to read.
            let full = self.root.join(path);
            let is_file = full.symlink_metadata().is_ok_and(|m| m.is_file());
            if let (true, Ok(text)) = (is_file, std::fs::read_to_string(&full)) {
                files.push(TextFile { path: path.to_owned(), text });
            }
        }
        Ok(files)
    }

    fn output(&self, command: &mut Command) -> Result<String> {
        let name = format!("{command:?}");
        let output =
            command.current_dir(&self.root).output().with_context(|| format!("cannot run {name}"))?;
        ensure!(output.status.success(), "{name} failed:\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).with_context(|| format!("{name} printed no UTF-8"))
    }
}
