//! The API as programs see it that are made from its description alone: a generated client in another language goes the
//! first two journeys, and a tester sends all that the description allows and forbids.
use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::json;

use crate::world::World;

/// Where `./test` installs what `requirements.txt` names.
pub(crate) fn tool(name: &str) -> PathBuf {
    let tool = root().join("target/venv/bin").join(name);
    assert!(tool.exists(), "{} is missing: ./test installs it", tool.display());
    tool
}

/// The root of the tree.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client").join(name)
}

pub(crate) fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}", text(&output.stdout), text(&output.stderr))
}

/// Makes the client of the committed description; gives the folder in which Python finds it.
fn generate(folder: &Path) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    let made = Command::new(tool("openapi-python-client"))
        .args(["generate", "--meta", "none", "--fail-on-warning", "--path"])
        .arg(root().join("docs/openapi.json"))
        .arg("--config")
        .arg(script("generator.yml"))
        .arg("--output-path")
        .arg(folder.join("gridesk_client"))
        // It has its result put in order by `ruff`.
        .env("PATH", format!("{}:{path}", root().join("target/venv/bin").display()))
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", said(&made));
    folder.to_owned()
}

#[test]
fn system_client_generated_in_python_recomputes_a_bill_and_pays_once() {
    let world = World::start();
    let folder = tempfile::tempdir().unwrap();
    let gone = Command::new(tool("python"))
        .arg(script("journeys.py"))
        .args([&world.portal, &world.sim, &world.phones[0]])
        .env("PYTHONPATH", generate(folder.path()))
        .output()
        .unwrap();
    assert!(gone.status.success(), "{}", said(&gone));
    assert_eq!(String::from_utf8_lossy(&gone.stdout).lines().count(), 2, "{}", said(&gone));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn system_api_answers_as_it_is_described() {
    // A fast machine would come to the limit of codes that one source has sent, and be told so in place of what is asked.
    let world = World::start_with(&[("GRIDESK_EDGE__LIMITS__LOGIN_STARTS_PER_MINUTE", "0")]);
    let mut customer = world.customer(&world.phones[0]).await;
    let account = customer.account().await;
    let bills = customer.get(&format!("/v1/accounts/{account}/bills")).await;
    let payments = customer.get(&format!("/v1/accounts/{account}/payments")).await;
    let order = json!({ "amount_fen": 100, "provider": "sim-pay" });
    let path = format!("/v1/accounts/{account}/payments");
    let taken = customer.post(&path, &crate::world::key("described"), 0, &order).await;
    let ids = json!({
        "AccountId": account,
        "BillId": bills.json["bills"][0]["bill"],
        "Month": bills.json["bills"][0]["month"],
        "PaymentId": payments.json["payments"][0]["payment"],
        "OperationId": taken.json["operation"],
    });
    let folder = tempfile::tempdir().unwrap();
    let run = Command::new(tool("python"))
        .arg(script("conformance.py"))
        .arg(root().join("docs/openapi.json"))
        .args([&world.portal, customer.access.as_ref().unwrap()])
        .arg(folder.path())
        .arg(ids.to_string())
        .output();
    let run = run.unwrap();
    assert!(run.status.success(), "{}", said(&run));
    // What it did not reach it cannot have judged.
    assert!(said(&run).contains("No issues found"), "{}", said(&run));
}
