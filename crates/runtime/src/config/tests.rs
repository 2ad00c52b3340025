use proptest::prelude::*;

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    name: String,
    #[serde(default)]
    token: Option<SecretString>,
    listen: Listen,
    store: Store,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listen {
    port: u16,
    wait: TimeSpan,
    body_max: ByteSize,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum Store {
    Memory,
    Sqlite { readers: u8 },
}

const GOOD: &str = r#"
name = "one"
[listen]
port = 80
wait = "30s"
body_max = "64 KiB"
[store]
kind = "sqlite"
readers = 2
"#;

fn read(toml: &str, env: &[(&str, &str)]) -> Result<Settings, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edge.toml");
    std::fs::write(&path, toml).unwrap();
    let env = env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    load_from(Some(&path), "GRIDESK_EDGE", env)
        .map_err(|error| error.to_string().replace(&format!("{}/", folder.path().display()), ""))
}

fn problem(toml: &str, env: &[(&str, &str)]) -> String {
    read(toml, env).unwrap_err()
}

#[test]
fn the_environment_wins_over_the_file() {
    let settings = read(
        GOOD,
        &[
            ("GRIDESK_EDGE__LISTEN__PORT", "8080"),
            ("GRIDESK_EDGE__STORE__READERS", "4"),
            ("GRIDESK_EDGE__TOKEN", "12345"),
            ("GRIDESK_EDGE__NAME", "true"),
            ("GRIDESK_LOG", "debug"),
            ("GRIDESK_CENTER__NAME", "other"),
        ],
    )
    .unwrap();
    assert_eq!((settings.listen.port, settings.name.as_str()), (8080, "true"));
    assert_eq!(settings.listen.wait.0, Duration::from_secs(30));
    assert_eq!(settings.listen.body_max.0, 65_536);
    assert_eq!(settings.store, Store::Sqlite { readers: 4 });
    assert_eq!(settings.token.unwrap().expose_secret(), "12345");
}

#[test]
fn the_environment_alone_is_enough() {
    let env = [("NAME", "a"), ("LISTEN__PORT", "1"), ("LISTEN__WAIT", "1 min"), ("LISTEN__BODY_MAX", "7")];
    let env = env.iter().chain(&[("STORE__KIND", "memory")]);
    let env = env.map(|(name, value)| (format!("G__{name}").into(), OsString::from(value)));
    let settings: Settings = load_from(None, "G", env).unwrap();
    assert_eq!((settings.listen.body_max.0, settings.store), (7, Store::Memory));
}

#[test]
fn an_error_says_what_and_where() {
    let with = |from: &str, to: &str| problem(&GOOD.replace(from, to), &[]);
    assert_eq!(
        with("port = 80", "port = 80\nprot = 81"),
        "edge.toml: key `listen.prot`: unknown key; known are port, wait, body_max"
    );
    assert_eq!(with("name = \"one\"", ""), "edge.toml: key `name`: is missing");
    assert_eq!(with("port = 80", "port = \"x\""), "edge.toml: key `listen.port`: must be u16, not text");
    assert_eq!(
        with("\"30s\"", "\"30 parsecs\""),
        "edge.toml: key `listen.wait`: must be a time such as \"250 ms\", \"30s\" or \"5 min\""
    );
    assert_eq!(
        with("\"64 KiB\"", "\"64 Kib\""),
        "edge.toml: key `listen.body_max`: must be a size such as \"64 MiB\""
    );
    let broken = with("port = 80", "port = = 80");
    assert!(broken.starts_with("edge.toml") && broken.contains("line 4"), "{broken}");
    assert_eq!(
        problem(GOOD, &[("GRIDESK_EDGE__LISTEN__PORT", "x")]),
        "GRIDESK_EDGE__LISTEN__PORT: must be u16, not text"
    );
    assert_eq!(
        problem(GOOD, &[("GRIDESK_EDGE__LISTEN__PROT", "1")]),
        "GRIDESK_EDGE__LISTEN__PROT: unknown key; known are port, wait, body_max"
    );
    let error = load_from::<Settings>(Some(Path::new("/nowhere/x.toml")), "G", []).unwrap_err();
    assert!(error.to_string().starts_with("/nowhere/x.toml: cannot be read"), "{error}");
}

#[test]
fn a_value_is_never_repeated_in_an_error() {
    for wrong in ["[98765]", "{ a = 98765 }", "987.65"] {
        let error = problem(GOOD, &[("GRIDESK_EDGE__LISTEN__PORT", wrong)]);
        assert!(!error.contains("987"), "{error}");
    }
}

#[test]
fn units_are_read() {
    let bytes = |text: &str| text.parse::<ByteSize>().ok().map(|size| size.0);
    assert_eq!(bytes("64 MiB"), Some(64 << 20));
    assert_eq!(bytes(" 10MB "), Some(10_000_000));
    assert_eq!(bytes("4096"), Some(4096));
    for wrong in ["", "MiB", "-1", "1.5 MiB", "1 mib", "99999999999 TiB", "1 MiB MiB"] {
        assert_eq!(bytes(wrong), None, "{wrong}");
    }
    let ms = |text: &str| text.parse::<TimeSpan>().ok().map(|span| span.0.as_millis());
    assert_eq!(ms("250 ms"), Some(250));
    assert_eq!(ms("30s"), Some(30_000));
    assert_eq!(ms("7 d"), Some(604_800_000));
    assert_eq!(ms("0"), Some(0));
    for wrong in ["30", "s", "1 fortnight", "999999999999999999 d"] {
        assert_eq!(ms(wrong), None, "{wrong}");
    }
}

proptest! {
    #[test]
    fn what_is_shown_reads_back(bytes: u64, ms in 0..u64::MAX / 2) {
        let size = ByteSize(bytes);
        prop_assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
        let span = TimeSpan(Duration::from_millis(ms));
        prop_assert_eq!(span.to_string().parse::<TimeSpan>().unwrap(), span);
    }

    #[test]
    fn no_text_panics(text: String) {
        let _ = text.parse::<ByteSize>();
        let _ = text.parse::<TimeSpan>();
    }
}
