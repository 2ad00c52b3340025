//! Staff tokens that were taken back.
use protocol::{
    Bucket, Code, Outcome, Problem, PushId, Request,
    catalogue::requests::{FileEnding, FileResult},
    push::{Push, PushBody, StaffRevocation},
    session::{STAFF_TTL_S, StaffClaims, StaffRole, sign_staff},
};

use crate::{
    files::{Site, file_settings},
    files_fixture::key,
    world::LONG,
};

fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// A token that was made then.
fn token(name: &str, made_s: u64) -> String {
    let roles = vec![StaffRole::Auditor];
    let name = name.parse().unwrap();
    sign_staff(&key(), &StaffClaims { key_id: 1, name, roles, expires_s: made_s + STAFF_TTL_S })
}

fn revoked(name: &str, until_s: u64) -> Push {
    let list = vec![StaffRevocation { name: name.parse().unwrap(), until_s }];
    Push { id: PushId::mint(Bucket::of(b"x"), 1), body: PushBody::StaffRevoked(list) }
}

impl Site {
    async fn page(&self, path: &str, token: &str) -> (u16, String) {
        let cookie = format!("gd_staff={token}; gd_lang=en");
        let page = self.world.get(path).header("cookie", cookie).send().await.unwrap();
        (page.status().as_u16(), page.text().await.unwrap())
    }

    async fn is_let_in(&self, token: &str) -> bool {
        let (_, page) = self.page("/audit", token).await;
        let (is_in, is_out) =
            (page.contains("Waiting for you"), page.contains("Your log-in was ended by an administrator"));
        assert!(is_in != is_out, "{page}");
        is_in
    }
}

#[tokio::test]
async fn tokens_that_were_taken_back_end_with_a_word_and_stay_so() {
    let site = Site::on(tempfile::tempdir().unwrap(), file_settings()).await;
    let now_s = now_s();
    let (before, later) = (token("li", now_s - 600), token("li", now_s - 60));
    let file = site.send(1, b"a,=SUM(A1:A9)\nb,c\n").await;
    site.comes_to(file, "for-a-person").await;
    let look = format!("/audit/{file}/look");
    assert!(site.is_let_in(&before).await);
    assert_eq!(site.page(&look, &before).await.0, 200);

    site.world.gate.push(&revoked("li", now_s - 300), LONG).await.unwrap();
    assert!(!site.is_let_in(&before).await);
    assert_eq!(site.page(&look, &before).await.0, 404, "its bytes are not to be had either");
    assert!(site.is_let_in(&later).await, "logged in afterwards");
    assert!(site.is_let_in(&token("wang", now_s - 600)).await, "somebody else");

    // What another gate still says makes nobody's token good again.
    for other in [revoked("li", now_s - 900), revoked("wang", 5)] {
        site.world.gate.push(&other, LONG).await.unwrap();
        assert!(!site.is_let_in(&before).await);
    }
    site.world.gate.push(&revoked("li", now_s), LONG).await.unwrap();
    assert!(!site.is_let_in(&later).await);

    // An edge that starts believes nobody before it has the keys, and a gate tells it who is revoked before those.
    let folder = site.stop().await;
    let gate = crate::files_fixture::FileGate::start(&folder.path().join("gates/1/files.sock"));
    let messages = crate::world::Gate::start(&crate::world::gate_path(folder.path()));
    let limits = (Default::default(), file_settings());
    let world = crate::world::World::with_files(folder, messages, limits, "http://127.0.0.1:9").await;
    let site = Site { world, gate };
    let (_, page) = site.page("/audit", &before).await;
    assert!(!page.contains("Waiting for you"));
    site.world.gate.push(&revoked("li", now_s), LONG).await.unwrap();
    site.world.gate.push(&crate::files_fixture::settings(), LONG).await.unwrap();
    assert!(!site.is_let_in(&before).await && !site.is_let_in(&later).await);
}

/// What the center was told of a file, whole.
fn result(site: &Site, file: protocol::FileId) -> Option<FileResult> {
    let seen = site.world.gate.seen.lock().unwrap();
    seen.iter().find_map(|asked| match &asked.request {
        Request::FileResult(result) if result.file == file => {
            let key = asked.head.idempotency_key.as_ref().unwrap();
            assert_eq!(key.as_str(), format!("{file}-result"), "the same, however often it is said");
            Some(result.clone())
        }
        _ => None,
    })
}

#[tokio::test]
async fn the_words_of_whoever_refused_a_file_reach_the_center_also_after_a_restart() {
    let site = Site::on(tempfile::tempdir().unwrap(), file_settings()).await;
    let file = site.send(1, b"a,=SUM(A1:A9)\nb,c\n").await;
    site.comes_to(file, "for-a-person").await;
    let token = token("li", now_s());
    let (_, page) = site.page(&format!("/audit/{file}"), &token).await;
    let form = page.split_once("name=\"form\" value=\"").unwrap().1.split_once('"').unwrap().0.to_owned();
    let cookie = format!("gd_staff={token}; gd_lang=en; gd_form={form}");
    // The center is away while they decide.
    let asked = site.world.gate.seen.lock().unwrap().len();
    site.world.gate.answers(Outcome::Problem(Problem::new(Code::Unavailable, "away")));
    let client = &site.world.client;
    let body = [("form", form.as_str()), ("what", "refuse"), ("why", "看不清")];
    let decided = client.post(site.world.url(&format!("/audit/{file}"))).header("cookie", cookie).form(&body);
    assert!(decided.send().await.unwrap().status().is_success());
    crate::world::until(|| site.world.gate.seen.lock().unwrap().len() > asked).await;
    site.world.gate.seen.lock().unwrap().clear();

    let site = Site::on(site.stop().await, file_settings()).await;
    crate::world::until(|| result(&site, file).is_some()).await;
    let told = result(&site, file).unwrap();
    assert_eq!(
        (told.how, told.why.as_str(), &*told.words),
        (FileEnding::RefusedByPerson, "refused", "看不清")
    );

    let refused = site.send(2, b"#!/bin/sh\nrm -rf /\n").await;
    crate::world::until(|| result(&site, refused).is_some()).await;
    let told = result(&site, refused).unwrap();
    assert_eq!((told.how, &*told.words, &*told.rule), (FileEnding::Refused, "", ""));
}
