//! `gridesk config check FILE…`: says what is wrong with settings, and where, before a program refuses them.
use std::path::Path;

use clap::ValueEnum;
use runtime::config::ConfigError;
use serde::Serialize;

use crate::role::Role;

/// What was found in one file.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// The file.
    pub file: String,
    /// Whose settings they are, where that can be told.
    pub role: Option<&'static str>,
    /// Whether that role would take them.
    pub ok: bool,
    /// What is wrong, and where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Checks a file against the settings of `role`, or of the role that its content shows.
pub fn check(file: &Path, role: Option<Role>) -> Checked {
    let role = match role.map_or_else(|| detect(file), Ok) {
        Ok(role) => role,
        Err(problem) => {
            return Checked {
                file: file.display().to_string(),
                role: None,
                ok: false,
                problem: Some(problem),
            };
        }
    };
    let problem = role.check(file).err().map(|error: ConfigError| error.to_string());
    Checked { file: file.display().to_string(), role: Some(role.name()), ok: problem.is_none(), problem }
}

/// The role by a file's name (`edge.toml`, `gate-outer.toml`), else by keys that only that role has.
fn detect(file: &Path) -> Result<Role, String> {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let named = |role: &Role| stem.split(['-', '_', '.']).any(|word| word == role.name());
    if let Some(role) = Role::value_variants().iter().copied().find(named) {
        return Ok(role);
    }
    let place = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{place}: cannot be read: {error}"))?;
    let table: toml::Table = text.parse().map_err(|error| format!("{place}: no TOML: {error}"))?;
    let own_keys = [
        (Role::Edge, "gates"),
        (Role::Edge, "sms"),
        (Role::Outer, "edge_socket"),
        (Role::Inner, "centers"),
        (Role::Center, "providers"),
        (Role::Center, "admin"),
        (Role::Sim, "merchant_key"),
    ];
    let found = own_keys.into_iter().find(|(_, key)| table.contains_key(*key)).map(|(role, _)| role);
    found.ok_or_else(|| {
        format!("{place}: it cannot be told whose settings these are; name the role with --role")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_is_told_by_name_or_content_and_the_place_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let good = "edge_socket = 'a'\nlink = 'b'\nsecret_file = 'c'\n";
        let checked = check(&write("my.toml", good), None);
        assert!(checked.ok && checked.role == Some("outer"), "{checked:?}");
        let checked = check(&write("gate-outer.toml", &good.replace("link", "lnk")), None);
        let problem = checked.problem.unwrap();
        assert!(!checked.ok && problem.contains("gate-outer.toml") && problem.contains("lnk"), "{problem}");
        let center = "data = 'd'\nsocket = 's'\nadmin = 'a'\npublic_url = 'http://x'\n";
        assert!(check(&write("center.toml", center), None).ok);
        let forms = write("forms.toml", "[[form]]\nid = 'x'\nkind = 'consultt'\n");
        let problem =
            check(&write("center.toml", &format!("{center}forms = '{}'\n", forms.display())), None).problem;
        let problem = problem.unwrap();
        assert!(problem.contains("forms.toml") && problem.contains("consultt"), "{problem}");
        assert!(check(&write("x.toml", "a = 1"), None).problem.unwrap().contains("--role"));
        assert!(!check(&folder.path().join("missing.toml"), None).ok);
        assert!(!check(&write("y.toml", "a = = 1"), None).ok);
    }
}
