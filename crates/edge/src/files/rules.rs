//! Which rules hold for a file: those of its request's form, else of its request's kind, else the general ones.
use std::collections::{BTreeMap, BTreeSet};

use inspect::Kind;
use protocol::{
    Code, Problem,
    bounds::ShortName,
    catalogue::replies::{RequestForm, RequestKind},
};
use serde::Deserialize;

use crate::config::FileSettings;

/// The most files that the center takes with a request; see there.
const FILES_MAX: u32 = 20;

/// The rules of one kind of request, or of one form. What is not named here is as the next more general rules say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KindRules {
    /// Kinds of files that may pass; each of them must be among those of the general rules.
    pub allowed: Option<BTreeSet<Kind>>,
    /// Kinds among them that a person looks at whatever the checks say.
    pub needs_person: Option<BTreeSet<Kind>>,
    /// Whether a person looks at every file, of whatever kind.
    pub every_file_needs_person: Option<bool>,
    /// The largest file, in bytes; not above the general one.
    pub size_bytes_max: Option<u64>,
    /// How many files a request may have: 0 to 20. 0: it takes none.
    pub files_max: Option<u32>,
}

/// What a request is, as far as rules go. Both absent: not known, or a part that belongs to no request yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) kind: Option<RequestKind>,
    pub(crate) form: Option<ShortName>,
}

impl About {
    pub(crate) fn of(form: &RequestForm) -> Self {
        About { kind: Some(form.kind), form: form.form.clone() }
    }
}

/// The rules that hold for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RulesFor {
    /// What may pass.
    pub(crate) inspection: inspect::Rules,
    /// How many files its request may have.
    pub(crate) files_max: u32,
    /// Which they are: `kind:complaint`, `form:complaint-meter`; `None`: the general ones.
    pub(crate) name: Option<String>,
}

impl RulesFor {
    /// Who decides by them, as the trail of decisions says it.
    pub(crate) fn who(&self) -> String {
        self.name.as_ref().map_or_else(|| "rules".to_owned(), |name| format!("rules:{name}"))
    }

    /// Whether a file of `size` bytes may come.
    pub(crate) fn check_size(&self, size: u64) -> Result<(), Problem> {
        let limit = self.inspection.size_bytes_max;
        if size <= limit {
            return Ok(());
        }
        Err(Problem::new(Code::TooLarge, format!("A file has at most {limit} bytes{}.", self.by())))
    }

    /// What is said where the request has as many files as these rules let it have.
    pub(crate) fn too_many(&self) -> Problem {
        let most = self.files_max;
        Problem::new(Code::Conflict, format!("The request may have at most {most} files{}.", self.by()))
    }

    fn by(&self) -> String {
        self.name.as_ref().map_or_else(String::new, |name| format!(", by the rule `{name}`"))
    }
}

impl FileSettings {
    /// The rules for a file of such a request.
    pub(crate) fn rules_for(&self, about: &About) -> RulesFor {
        let of_kind = about.kind.and_then(|kind| self.kinds.get(&kind).map(|rules| (kind.name(), rules)));
        let of_form = about.form.as_ref().and_then(|form| self.forms.get_key_value(form));
        let name = match (&of_form, of_kind) {
            (Some((form, _)), _) => Some(format!("form:{form}")),
            (None, Some((kind, _))) => Some(format!("kind:{kind}")),
            (None, None) => None,
        };
        let (mut inspection, mut files_max, mut every) = (self.rules.clone(), FILES_MAX, false);
        for rules in [of_kind.map(|(_, rules)| rules), of_form.map(|(_, rules)| rules)].into_iter().flatten()
        {
            if let Some(allowed) = &rules.allowed {
                inspection.allowed.clone_from(allowed);
            }
            if let Some(needs_person) = &rules.needs_person {
                inspection.needs_person.clone_from(needs_person);
            }
            every = rules.every_file_needs_person.unwrap_or(every);
            inspection.size_bytes_max = rules.size_bytes_max.unwrap_or(inspection.size_bytes_max);
            files_max = rules.files_max.unwrap_or(files_max);
        }
        if every {
            inspection.needs_person.clone_from(&inspection.allowed);
        } else {
            inspection.needs_person.retain(|kind| inspection.allowed.contains(kind));
        }
        RulesFor { inspection, files_max, name }
    }

    /// Whether the rules can be meant so; else what is wrong, with its key.
    pub(crate) fn check_rules(&self) -> Result<(), String> {
        self.rules.validate().map_err(|error| format!("files.rules: {error}"))?;
        check_all("kinds", &self.kinds, |kind| kind.name().to_owned(), &self.rules)?;
        check_all("forms", &self.forms, ToString::to_string, &self.rules)
    }
}

fn check_all<K>(
    table: &str,
    all: &BTreeMap<K, KindRules>,
    name: impl Fn(&K) -> String,
    general: &inspect::Rules,
) -> Result<(), String> {
    all.iter().try_for_each(|(key, rules)| {
        check(rules, general)
            .map_err(|(field, wrong)| format!("files.{table}.{}.{field}: {wrong}", name(key)))
    })
}

/// What is wrong with the rules, and in which field.
fn check(rules: &KindRules, general: &inspect::Rules) -> Result<(), (&'static str, String)> {
    let allowed = rules.allowed.as_ref().unwrap_or(&general.allowed);
    if let Some(kind) = allowed.difference(&general.allowed).next() {
        return Err(("allowed", format!("names {kind}, which `files.rules.allowed` does not")));
    }
    let asked = rules.needs_person.iter().flatten();
    if let Some(kind) = asked.into_iter().find(|kind| !allowed.contains(kind)) {
        return Err(("needs_person", format!("names {kind}, which is not allowed there")));
    }
    let most = general.size_bytes_max;
    match rules.size_bytes_max {
        Some(0) => return Err(("size_bytes_max", "is 0; a file has at least one byte".to_owned())),
        Some(size) if size > most => {
            let wrong = format!("is {size}, above `files.rules.size_bytes_max`, which is {most}");
            return Err(("size_bytes_max", wrong));
        }
        _ => {}
    }
    match rules.files_max {
        Some(files) if files > FILES_MAX => {
            Err(("files_max", format!("is {files}; a request has at most {FILES_MAX} files")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> FileSettings {
        toml::from_str(text).unwrap()
    }

    fn about(kind: RequestKind, form: Option<&str>) -> About {
        About { kind: Some(kind), form: form.map(|form| form.parse().unwrap()) }
    }

    const BOTH: &str = "
        rules.needs_person = ['docx']
        [kinds.complaint]
        allowed = ['pdf', 'jpeg', 'docx']
        size_bytes_max = 5000
        files_max = 3
        [forms.complaint-meter]
        allowed = ['jpeg']
        every_file_needs_person = true
        [forms.suggestion]
        files_max = 0
    ";

    #[test]
    fn the_form_goes_before_the_kind_and_the_kind_before_the_general_rules() {
        let settings = settings(BOTH);
        assert_eq!(settings.check_rules(), Ok(()));
        let general = settings.rules_for(&About::default());
        assert_eq!((&general.inspection, general.files_max, general.name), (&settings.rules, 20, None));
        let fault = settings.rules_for(&about(RequestKind::Fault, None));
        assert_eq!((fault.inspection, fault.name), (settings.rules.clone(), None));

        let complaint = settings.rules_for(&about(RequestKind::Complaint, Some("complaint-service")));
        assert_eq!((complaint.files_max, complaint.inspection.size_bytes_max), (3, 5000));
        assert_eq!(complaint.inspection.needs_person, BTreeSet::from([Kind::Docx]));
        assert_eq!(complaint.who(), "rules:kind:complaint");
        assert!(complaint.check_size(5000).is_ok());
        let said = complaint.check_size(5001).unwrap_err();
        assert_eq!(said.code, Code::TooLarge);
        assert!(said.detail.contains("5000") && said.detail.contains("kind:complaint"), "{}", said.detail);

        let meter = settings.rules_for(&about(RequestKind::Complaint, Some("complaint-meter")));
        assert_eq!((meter.files_max, meter.inspection.size_bytes_max), (3, 5000), "the kind's");
        assert_eq!(meter.inspection.allowed, BTreeSet::from([Kind::Jpeg]));
        assert_eq!(meter.inspection.needs_person, BTreeSet::from([Kind::Jpeg]));
        assert_eq!(meter.inspection.validate(), Ok(()));
        assert_eq!(meter.name.as_deref(), Some("form:complaint-meter"));
        assert_eq!(settings.rules_for(&about(RequestKind::Suggestion, Some("suggestion"))).files_max, 0);
    }

    #[test]
    fn what_cannot_be_meant_is_said_with_its_key() {
        let wrong = [
            ("kinds.complaint.allowed = ['zip']", "files.kinds.complaint.allowed: names zip"),
            ("kinds.fault.allowed = ['html']", "files.kinds.fault.allowed: names html"),
            ("kinds.fault.size_bytes_max = 20971521", "files.kinds.fault.size_bytes_max: is 20971521, above"),
            ("kinds.fault.size_bytes_max = 0", "files.kinds.fault.size_bytes_max: is 0"),
            ("forms.x.files_max = 21", "files.forms.x.files_max: is 21"),
            (
                "forms.x.allowed = ['pdf']\nforms.x.needs_person = ['png']",
                "files.forms.x.needs_person: names png",
            ),
            ("rules.size_bytes_max = 0", "files.rules: `size_bytes_max` is 0"),
        ];
        for (text, said) in wrong {
            let found = settings(text).check_rules().unwrap_err();
            assert!(found.starts_with(said), "{text}: {found}");
        }
        for text in [
            "kinds.complant.files_max = 1",
            "kinds.Fault.files_max = 1",
            "forms.\"Bad Form\".files_max = 1",
            "forms.\"\".files_max = 1",
            "kinds.fault.allowed = ['exe']",
            "kinds.fault.allow = ['pdf']",
            "kinds.fault.files_max = -1",
            "kinds.fault.files_max = '3'",
            "kinds = ['fault']",
        ] {
            assert!(toml::from_str::<FileSettings>(text).is_err(), "{text}");
        }
    }
}
