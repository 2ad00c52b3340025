//! The invariants of the tree, most of them absences.

use anyhow::{Context, Result};
use cargo_metadata::DependencyKind;

use crate::Finding;
use crate::tree::{TextFile, Tree};

mod crates;
mod sources;

/// Everything in the tree that breaks a rule.
pub(crate) fn findings(tree: &Tree) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    let members = tree.metadata.workspace_packages();
    let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();

    for member in &members {
        let manifest = member.manifest_path.strip_prefix(&tree.metadata.workspace_root);
        let manifest = manifest.unwrap_or(&member.manifest_path).as_str();
        let direct: Vec<&str> = member
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind != DependencyKind::Development)
            .map(|dependency| dependency.name.as_str())
            .filter(|name| names.contains(name))
            .collect();
        found.extend(crates::check_direct(&member.name, manifest, &direct));
        if crates::has_forbidden(&member.name) {
            found.extend(crates::check_linked(&member.name, manifest, &tree.linked_by(&member.name)?));
        }
        let text = std::fs::read_to_string(&member.manifest_path).context("a manifest cannot be read")?;
        found.extend(crates::check_manifest(manifest, &text));
    }
    for TextFile { path, text } in tree.text_files()? {
        found.extend(sources::check_file(&path, &text));
    }
    let root_manifest = std::fs::read_to_string(tree.root.join("Cargo.toml"))?;
    found.extend(crates::check_root_manifest(&root_manifest));
    Ok(found)
}
