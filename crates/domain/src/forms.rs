//! Service requests that are plain forms: their kinds come from configuration, and are checked as a whole when it is
//! read, so that a new kind of complaint or consultation needs no code.
use std::collections::HashSet;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

const MAX_FORMS: usize = 64;
/// The most fields of a form.
pub const MAX_FIELDS: usize = 12;
const MAX_OPTIONS: usize = 40;
const MAX_LABEL: usize = 200;
/// The most bytes of one answer.
pub const MAX_ANSWER: usize = 2_000;
const MAX_NUMBER: u64 = 1_000_000_000_000;
/// A promise to answer is within half a year.
const MAX_HOURS: u16 = 24 * 180;

/// Every form a customer can send in, in the order in which they are offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormBook {
    /// The forms.
    #[serde(alias = "form")]
    pub forms: Vec<Form>,
}

/// A kind of service request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Form {
    /// Its short name.
    pub id: String,
    /// What it is.
    pub kind: FormKind,
    /// Its name, English.
    pub title_en: String,
    /// Its name, 简体中文.
    pub title_zh: String,
    /// What it is for, English.
    pub lead_en: String,
    /// What it is for, 简体中文.
    pub lead_zh: String,
    /// Whether it is about an account.
    pub account: AboutAccount,
    /// Within how many hours it is to be answered.
    pub answer_within_h: u16,
    /// What is asked.
    #[serde(alias = "field")]
    pub fields: Vec<Field>,
}

/// What a form is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FormKind {
    /// 咨询
    Consult,
    /// 投诉
    Complaint,
    /// 建议
    Suggestion,
}

/// Whether a form is about an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AboutAccount {
    /// Never.
    None,
    /// If the customer says so.
    Optional,
    /// Always.
    Required,
}

/// One thing a form asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = FormField)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its short name.
    pub id: String,
    /// What is asked, English.
    pub label_en: String,
    /// What is asked, 简体中文.
    pub label_zh: String,
    /// How it is answered.
    pub kind: FieldKind,
    /// Whether it must be.
    pub required: bool,
    /// The most bytes of a text (1,000 where it is not said), the largest number.
    #[serde(default)]
    pub max: Option<u64>,
    /// What can be chosen.
    #[serde(default)]
    pub options: Vec<Choice>,
}

/// How a field is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    /// Text of one line.
    Line,
    /// Text of many lines.
    Text,
    /// One of the options.
    Choice,
    /// A whole number, not negative.
    Number,
    /// A day, as 2026-11-25.
    Date,
    /// A mobile number.
    Phone,
}

/// One of a field's options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = FormChoice)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// Its short name.
    pub id: String,
    /// English.
    pub en: String,
    /// 简体中文
    pub zh: String,
}

/// Why a text is no book of forms.
#[derive(Debug, thiserror::Error)]
pub enum FormBookError {
    /// It is no TOML, or has missing, unknown or mistyped fields; the message says where.
    #[error("forms: {0}")]
    Syntax(#[from] toml::de::Error),
    /// A rule is broken.
    #[error("form {form}, {field}: {problem}")]
    Rule {
        /// The form's id.
        form: String,
        /// Where in it.
        field: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// More than anybody could choose from.
    #[error("forms: {0} are more than {MAX_FORMS}")]
    TooMany(usize),
}

/// Why an answer does not fit its form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct AnswerError {
    /// Which field.
    pub field: String,
    /// What is wrong.
    pub problem: AnswerProblem,
}

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AnswerProblem {
    /// It is needed.
    #[error("an answer is needed")]
    Missing,
    /// The form does not ask for it.
    #[error("the form has no such field")]
    Unknown,
    /// It came twice.
    #[error("answered twice")]
    Twice,
    /// It is longer, or more, than it may be.
    #[error("longer or larger than it may be")]
    TooLong,
    /// It is not of the field's kind.
    #[error("not of the form that is asked for")]
    Kind,
}

impl FormBook {
    /// The forms that come with the program.
    pub fn built_in() -> FormBook {
        FormBook::from_toml(include_str!("../forms.toml")).expect("the built-in forms are checked by a test")
    }

    /// Reads and checks a book; `crates/domain/forms.toml` is the example of its form.
    ///
    /// # Errors
    /// [`FormBookError`] with the form and the field that is wrong.
    pub fn from_toml(text: &str) -> Result<FormBook, FormBookError> {
        let book: FormBook = toml::from_str(text)?;
        if book.forms.len() > MAX_FORMS {
            return Err(FormBookError::TooMany(book.forms.len()));
        }
        let mut ids = HashSet::new();
        for form in &book.forms {
            let rule = |(field, problem)| FormBookError::Rule { form: form.id.clone(), field, problem };
            form.check().map_err(rule)?;
            if !ids.insert(form.id.as_str()) {
                return Err(rule(("id".to_owned(), "is there twice")));
            }
        }
        Ok(book)
    }

    /// The form of that id.
    pub fn get(&self, id: &str) -> Option<&Form> {
        self.forms.iter().find(|form| form.id == id)
    }
}

type Broken = (String, &'static str);

impl Form {
    fn check(&self) -> Result<(), Broken> {
        short_name(&self.id, || "id".to_owned())?;
        for (name, text) in [
            ("title_en", &self.title_en),
            ("title_zh", &self.title_zh),
            ("lead_en", &self.lead_en),
            ("lead_zh", &self.lead_zh),
        ] {
            label(text, || name.to_owned())?;
        }
        if !(1..=MAX_HOURS).contains(&self.answer_within_h) {
            return Err(("answer_within_h".to_owned(), "is between 1 and 4320 hours"));
        }
        if !(1..=MAX_FIELDS).contains(&self.fields.len()) {
            return Err(("field".to_owned(), "a form has 1 to 12 fields"));
        }
        let mut ids = HashSet::new();
        for field in &self.fields {
            let at = |what: &str| format!("field {}, {what}", field.id);
            short_name(&field.id, || at("id"))?;
            if !ids.insert(field.id.as_str()) {
                return Err((at("id"), "is there twice"));
            }
            label(&field.label_en, || at("label_en"))?;
            label(&field.label_zh, || at("label_zh"))?;
            field.check(at)?;
        }
        Ok(())
    }

    /// Checks answers against the form: each asked for, none twice, all that are needed. Empty ones count as absent.
    ///
    /// # Errors
    /// [`AnswerError`], the first there is.
    pub fn check_answers<'a>(
        &self,
        answers: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), AnswerError> {
        let wrong = |field: &str, problem| AnswerError { field: field.to_owned(), problem };
        let mut seen = HashSet::new();
        for (id, value) in answers.filter(|(_, value)| !value.is_empty()) {
            let field = self.fields.iter().find(|field| field.id == id);
            let field = field.ok_or_else(|| wrong(id, AnswerProblem::Unknown))?;
            if !seen.insert(field.id.as_str()) {
                return Err(wrong(id, AnswerProblem::Twice));
            }
            field.check_answer(value).map_err(|problem| wrong(id, problem))?;
        }
        let missing = self.fields.iter().find(|field| field.required && !seen.contains(field.id.as_str()));
        missing.map_or(Ok(()), |field| Err(wrong(&field.id, AnswerProblem::Missing)))
    }
}

impl Field {
    fn check(&self, at: impl Fn(&str) -> String) -> Result<(), Broken> {
        let is_choice = self.kind == FieldKind::Choice;
        if is_choice == self.options.is_empty() {
            return Err((at("options"), "a choice has options, and nothing else has"));
        }
        if self.options.len() > MAX_OPTIONS {
            return Err((at("options"), "there are more than 40"));
        }
        let mut ids = HashSet::new();
        for option in &self.options {
            short_name(&option.id, || at("options"))?;
            label(&option.en, || at("options"))?;
            label(&option.zh, || at("options"))?;
            if !ids.insert(option.id.as_str()) {
                return Err((at("options"), "one is there twice"));
            }
        }
        let limit = match self.kind {
            FieldKind::Line | FieldKind::Text => MAX_ANSWER as u64,
            FieldKind::Number => MAX_NUMBER,
            _ if self.max.is_some() => return Err((at("max"), "only a text or a number has one")),
            _ => return Ok(()),
        };
        if self.max.is_some_and(|max| !(1..=limit).contains(&max)) {
            return Err((at("max"), "is 1 to 2000 bytes for a text, at most 10^12 for a number"));
        }
        Ok(())
    }

    /// The most bytes of this field's answer.
    pub fn max_bytes(&self) -> usize {
        match self.kind {
            FieldKind::Line | FieldKind::Text => self.max.map_or(1_000, |max| max as usize),
            _ => 64,
        }
    }

    fn check_answer(&self, value: &str) -> Result<(), AnswerProblem> {
        let kind = |fits: bool| if fits { Ok(()) } else { Err(AnswerProblem::Kind) };
        if value.len() > self.max_bytes() {
            return Err(AnswerProblem::TooLong);
        }
        match self.kind {
            FieldKind::Line => kind(!value.contains('\n')),
            FieldKind::Text => Ok(()),
            FieldKind::Choice => kind(self.options.iter().any(|option| option.id == value)),
            FieldKind::Number => {
                let digits = value.len() <= 13 && value.bytes().all(|b| b.is_ascii_digit());
                let number: u64 = value.parse().ok().filter(|_| digits).ok_or(AnswerProblem::Kind)?;
                if number > self.max.unwrap_or(MAX_NUMBER) { Err(AnswerProblem::TooLong) } else { Ok(()) }
            }
            FieldKind::Date => kind(value.len() == 10 && value.parse::<Date>().is_ok()),
            FieldKind::Phone => {
                kind(value.len() == 11 && value.starts_with('1') && value.bytes().all(|b| b.is_ascii_digit()))
            }
        }
    }

    /// What an answer says to a person: the chosen option's words, or the answer itself. English, then 简体中文.
    pub fn shown<'a>(&'a self, value: &'a str) -> (&'a str, &'a str) {
        let option = self.options.iter().find(|option| option.id == value);
        option.map_or((value, value), |option| (&option.en, &option.zh))
    }
}

fn short_name(text: &str, at: impl Fn() -> String) -> Result<(), Broken> {
    let fits =
        (1..=32).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if fits { Ok(()) } else { Err((at(), "a short name has 1 to 32 of a-z, 0-9 and -")) }
}

fn label(text: &str, at: impl Fn() -> String) -> Result<(), Broken> {
    let fits = !text.trim().is_empty() && text.len() <= MAX_LABEL && !text.chars().any(char::is_control);
    if fits { Ok(()) } else { Err((at(), "needs a text of at most 200 bytes without control characters")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> FormBook {
        FormBook::built_in()
    }

    #[test]
    fn the_built_in_forms_are_whole() {
        let book = book();
        assert!(book.forms.len() >= 4);
        for kind in [FormKind::Consult, FormKind::Complaint, FormKind::Suggestion] {
            assert!(book.forms.iter().any(|form| form.kind == kind), "{kind:?}");
        }
        assert_eq!(book.get("suggestion").unwrap().title_zh, "意见建议");
        let again = FormBook::from_toml(&toml::to_string(&book).unwrap()).unwrap();
        assert_eq!(again, book);
    }

    #[test]
    fn what_is_wrong_with_a_book_is_said_with_its_place() {
        let good = include_str!("../forms.toml");
        for (from, to, place) in [
            ("id = \"topic\"", "id = \"Topic\"", "form billing-question, field Topic, id"),
            (
                "id = \"topic\"",
                "id = \"question\"",
                "form billing-question, field question, id: is there twice",
            ),
            ("title_en = \"Ask about a bill\"", "title_en = \" \"", "form billing-question, title_en"),
            ("answer_within_h = 24", "answer_within_h = 0", "form billing-question, answer_within_h"),
            ("max = 1500", "max = 100000", "form billing-question, field question, max"),
            ("kind = \"choice\"", "kind = \"line\"", "form billing-question, field topic, options"),
            (
                "id = \"service-question\"",
                "id = \"billing-question\"",
                "form billing-question, id: is there twice",
            ),
            ("kind = \"consult\"", "kind = \"consultt\"", "unknown variant `consultt`"),
            ("account = \"optional\"", "account = \"optional\"\ncolour = 1", "unknown field `colour`"),
            ("{ id = \"tier\", en", "{ id = \"amount\", en", "field topic, options: one is there twice"),
        ] {
            assert!(good.contains(from), "{from}");
            let error = FormBook::from_toml(&good.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(place), "{error} does not name {place}");
        }
        let one = &good[good.find("[[form]]\nid = \"suggestion\"").unwrap()..];
        let many: String = (0..65).map(|n| one.replacen("suggestion", &format!("s-{n}"), 1)).collect();
        assert!(matches!(FormBook::from_toml(&many), Err(FormBookError::TooMany(65))));
    }

    #[test]
    fn answers_are_checked_against_the_form() {
        let book = book();
        let form = book.get("complaint-meter").unwrap();
        let check =
            |answers: &[(&str, &str)]| form.check_answers(answers.iter().copied()).map_err(|e| e.to_string());
        assert_eq!(check(&[("reading", "12345"), ("read-on", "2026-11-20"), ("note", "")]), Ok(()));
        for (answers, why) in [
            (vec![("reading", "12345")], "read-on: an answer is needed"),
            (vec![("reading", "-5"), ("read-on", "2026-11-20")], "reading: not of the form"),
            (vec![("reading", "99999999999"), ("read-on", "2026-11-20")], "reading: longer or larger"),
            (vec![("reading", "1"), ("read-on", "2026-02-30")], "read-on: not of the form"),
            (vec![("reading", "1"), ("reading", "2"), ("read-on", "2026-11-20")], "reading: answered twice"),
            (vec![("colour", "1")], "colour: the form has no such field"),
        ] {
            let error = check(&answers).unwrap_err();
            assert!(error.starts_with(why), "{error} is not {why}");
        }
        let form = book.get("billing-question").unwrap();
        let topic = form.fields.iter().find(|field| field.id == "topic").unwrap();
        assert_eq!(topic.shown("tier"), ("Tiers and prices", "阶梯与电价"));
        let long = "问".repeat(600);
        assert_eq!(topic.check_answer("nothing"), Err(AnswerProblem::Kind));
        assert_eq!(
            form.check_answers([("topic", "tier"), ("question", long.as_str())].into_iter())
                .unwrap_err()
                .problem,
            AnswerProblem::TooLong
        );
    }
}
