//! Rules for each kind of request: which hold, that they outlive the process, and who sees them.
use edge::config::FileSettings;
use protocol::{
    Bucket, Code, FileId, Outcome, Problem,
    catalogue::replies::{RequestForm, RequestKind},
    session::{StaffClaims, StaffRole, sign_staff},
};

use crate::{
    files::{Site, file_settings},
    files_fixture::key,
    world::problem,
};

const RULES: &str = "
    [kinds.complaint]
    allowed = ['png']
    size_bytes_max = 50
    [forms.service-question]
    every_file_needs_person = true
    files_max = 2
    [forms.suggestion]
    files_max = 0
";

fn settings() -> FileSettings {
    let rules: FileSettings = toml::from_str(RULES).unwrap();
    FileSettings { kinds: rules.kinds, forms: rules.forms, ..file_settings() }
}

async fn site() -> Site {
    Site::on(tempfile::tempdir().unwrap(), settings()).await
}

impl Site {
    /// The requests are of this kind, and have these files.
    fn form(&self, kind: RequestKind, form: &str, files: Vec<FileId>) {
        let form = form.parse().ok();
        *self.world.gate.form.lock().unwrap() = RequestForm { kind, form, files };
    }

    /// An auditor's page of a file.
    async fn audited(&self, file: FileId) -> String {
        let (name, roles) = ("li".parse().unwrap(), vec![StaffRole::Auditor]);
        let claims = StaffClaims { key_id: 1, name, roles, expires_s: 9_999_999_999 };
        let cookie = format!("gd_staff={}; gd_lang=en", sign_staff(&key(), &claims));
        let page = self.world.get(&format!("/audit/{file}")).header("cookie", cookie).send().await.unwrap();
        assert_eq!(page.status(), 200);
        page.text().await.unwrap()
    }
}

#[tokio::test]
async fn the_rules_of_the_kind_hold_and_others_fall_back_to_the_general_ones() {
    let site = site().await;
    site.form(RequestKind::Consult, "billing-question", vec![]);
    let general = site.send(1, b"some text\n").await;
    site.comes_to(general, "stored").await;

    site.form(RequestKind::Complaint, "complaint-service", vec![]);
    let refused = site.send(2, b"some text\n").await;
    site.comes_to(refused, "ended").await;
    assert_eq!(site.told(refused).await, "kind-not-allowed");
    let page = site.audited(refused).await;
    assert!(
        page.contains("rules:kind:complaint") && page.contains("Complaint · complaint-service"),
        "{page}"
    );
    assert!(site.audited(general).await.contains("Consultation · billing-question"));

    let asked = site.world.gate.asked();
    let said = problem(site.creation(51, "x.png").send().await.unwrap(), Code::TooLarge).await;
    let detail = said["detail"].as_str().unwrap();
    assert!(detail.contains("50 bytes") && detail.contains("kind:complaint"), "{detail}");
    assert_eq!(site.world.gate.asked(), asked, "no file is named at the center for it");
}

#[tokio::test]
async fn a_person_looks_at_what_the_form_says_and_counts_are_kept() {
    let site = site().await;
    site.form(RequestKind::Consult, "service-question", vec![]);
    let first = site.send(1, b"to be looked at\n").await;
    site.comes_to(first, "for-a-person").await;
    let page = site.audited(first).await;
    assert!(page.contains("rules:form:service-question"), "{page}");

    // One more came by another edge, which the center alone knows of.
    let elsewhere = FileId::mint(Bucket::of(b"f"), 77 << 12);
    site.form(RequestKind::Consult, "service-question", vec![first, elsewhere]);
    let third = site.names(2);
    let said = problem(site.creation(5, "x.txt").send().await.unwrap(), Code::Conflict).await;
    let detail = said["detail"].as_str().unwrap();
    assert!(detail.contains("at most 2 files") && detail.contains("form:service-question"), "{detail}");
    assert_eq!(site.told(third).await, "too-many-files");

    // The center does not show what was named a moment ago; this edge counts its own.
    site.form(RequestKind::Consult, "service-question", vec![]);
    let second = site.create(3, 5).await;
    let fourth = site.names(4);
    problem(site.creation(5, "x.txt").send().await.unwrap(), Code::Conflict).await;
    assert_eq!(site.told(fourth).await, "too-many-files");
    // Asked for again it is the same file, however many there are.
    site.form(RequestKind::Consult, "service-question", vec![first, second]);
    assert_eq!(site.create(3, 5).await, second);

    site.form(RequestKind::Suggestion, "suggestion", vec![]);
    let none = site.names(5);
    problem(site.creation(5, "x.txt").send().await.unwrap(), Code::Conflict).await;
    assert_eq!(site.told(none).await, "too-many-files");
}

#[tokio::test]
async fn what_a_request_is_outlives_the_process() {
    let site = site().await;
    site.form(RequestKind::Complaint, "complaint-meter", vec![]);
    let file = site.create(1, 10).await;
    assert_eq!(site.patch(file, 0, b"12345".to_vec()).await.status(), 204);
    let folder = site.stop().await;
    let site = Site::on(folder, settings()).await;
    assert_eq!(site.patch(file, 5, b"6789\n".to_vec()).await.status(), 204);
    site.comes_to(file, "ended").await;
    assert_eq!(site.told(file).await, "kind-not-allowed", "text is allowed in general");
    assert!(site.audited(file).await.contains("Complaint · complaint-meter"));
}

#[tokio::test]
async fn a_request_that_is_not_visible_yet_is_asked_after_once_its_file_has_a_name() {
    let site = site().await;
    site.form(RequestKind::Complaint, "complaint-meter", vec![]);
    let not_yet = || Outcome::Problem(Problem::not_found("request"));
    site.world.gate.refuses_form(not_yet());
    let file = site.names(1);
    problem(site.creation(51, "x.png").send().await.unwrap(), Code::TooLarge).await;
    assert_eq!(site.told(file).await, "too-large");
    site.world.gate.refuses_form(not_yet());
    let file = site.create(2, 10).await;
    assert!(site.audited(file).await.contains("Complaint"));
    // Away, the file is not begun with rules that may not be its own.
    let asked = site.world.gate.asked();
    site.world.gate.refuses_form(Outcome::Problem(Problem::new(Code::Unavailable, "away")));
    problem(site.creation(10, "x.png").send().await.unwrap(), Code::Unavailable).await;
    assert_eq!(site.world.gate.asked(), asked);
}
