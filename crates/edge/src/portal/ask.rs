//! A new request: which one, the fault report, and whatever forms the center's configuration has.
use askama::Template;
use axum::{extract::Path, response::Response};
use protocol::{
    AccountId,
    bounds::{Few, Phone, Prose, ShortName},
    catalogue::requests::{self, Answer, FaultKind},
};
use serde::Deserialize;
use web::domain::forms::{AboutAccount, AnswerProblem, Field, FieldKind, Form, FormKind};

use super::{
    home::AccountQuery,
    outages::{OutageCard, now_at},
    shell::{Chosen, Shell, Tab},
    visit::{Asked, Made, Page, Posted, Stop, Visit, Written},
};

#[derive(Template)]
#[template(path = "ask.html")]
struct Ask {
    shell: Shell,
    has_account: bool,
    groups: Vec<Group>,
}

struct Group {
    title: &'static str,
    forms: Vec<(String, String, String)>,
}

/// `GET /requests/new`
pub(super) async fn page(mut visit: Visit, Asked(query): Asked<AccountQuery>) -> Response {
    let made = choose(&mut visit, query.account.as_deref()).await;
    visit.finish(made)
}

async fn choose(visit: &mut Visit, asked: Option<&str>) -> Made {
    let chosen = visit.choose_account(asked).await?;
    let forms = visit.read(requests::FormList {}).await?.forms;
    let w = visit.w;
    let of = |kind: FormKind, title: &'static str| {
        let of_kind = forms.iter().filter(|form| form.kind == kind);
        let link = |form: &Form| {
            let (title, lead) =
                if visit.is_zh() { (&form.title_zh, &form.lead_zh) } else { (&form.title_en, &form.lead_en) };
            (format!("/requests/new/{}", form.id), title.clone(), lead.clone())
        };
        Group { title, forms: of_kind.map(link).collect() }
    };
    let groups = [
        of(FormKind::Consult, w.ask_consult),
        of(FormKind::Complaint, w.ask_complaint),
        of(FormKind::Suggestion, w.ask_suggestion),
    ];
    let page = Ask {
        shell: Shell::within(visit, w.ask_title, Tab::Requests, &chosen),
        has_account: chosen.account.is_some(),
        groups: groups.into_iter().filter(|group| !group.forms.is_empty()).collect(),
    };
    Ok(Page::html(page.render()?))
}

#[derive(Template)]
#[template(path = "fault.html")]
struct Fault {
    shell: Shell,
    account: String,
    account_number: String,
    address: String,
    kinds: Vec<(&'static str, &'static str, bool)>,
    text: String,
    phone: String,
    wrong_text: bool,
    wrong_phone: bool,
    wrong_kind: bool,
    outage: Option<OutageCard>,
}

const KINDS: [(&str, FaultKind); 6] = [
    ("no_power", FaultKind::NoPower),
    ("part_only", FaultKind::PartOnly),
    ("voltage", FaultKind::Voltage),
    ("danger", FaultKind::Danger),
    ("meter", FaultKind::Meter),
    ("other", FaultKind::Other),
];

/// What a fault report's form carries.
#[derive(Debug, Default, Deserialize)]
pub(super) struct FaultForm {
    form: String,
    key: String,
    account: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    phone: String,
}

/// `GET /requests/fault`
pub(super) async fn fault_page(mut visit: Visit, Asked(query): Asked<AccountQuery>) -> Response {
    let made = show_fault(&mut visit, query.account.as_deref(), None).await;
    visit.finish(made)
}

async fn show_fault(visit: &mut Visit, asked: Option<&str>, typed: Option<FaultForm>) -> Made {
    let chosen = visit.choose_account(asked).await?;
    let Some(account) = chosen.account else { return Ok(Page::See("/accounts/bind".to_owned())) };
    let outages = visit.read(requests::OutageList { account }).await?.outages;
    let outage = now_at(&outages).map(|outage| OutageCard::of(visit, outage));
    let address = visit.read(requests::AccountSummary { account }).await?.address;
    let w = visit.w;
    let words =
        [w.fault_no_power, w.fault_part, w.fault_voltage, w.fault_danger, w.fault_meter, w.fault_other];
    let is_first = typed.is_none();
    let typed = typed.unwrap_or_default();
    let chosen_kind = |name: &str| typed.kind == name;
    let kinds = KINDS.iter().zip(words).map(|((name, _), word)| (*name, word, chosen_kind(name)));
    let page = Fault {
        shell: Shell::within(visit, w.fault_title, Tab::Requests, &chosen),
        account: visit.f.account(account),
        account_number: account.to_string(),
        address,
        kinds: kinds.collect(),
        wrong_kind: !is_first && kind(&typed.kind).is_none(),
        wrong_text: Prose::<1000>::new(&typed.text).is_err(),
        wrong_phone: phone(&typed.phone).is_err(),
        text: typed.text,
        phone: typed.phone,
        outage,
    };
    let body = page.render()?;
    Ok(if is_first { Page::html(body) } else { Page::not_accepted(body) })
}

fn kind(name: &str) -> Option<FaultKind> {
    KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

/// A phone number as people write it; `None` where the field is empty.
fn phone(text: &str) -> Result<Option<Phone>, Stop> {
    let digits: String = text.chars().filter(|c| !matches!(c, ' ' | '-')).take(20).collect();
    if digits.is_empty() { Ok(None) } else { digits.parse().map(Some).map_err(|_| Stop::Form) }
}

/// `POST /requests/fault`
pub(super) async fn fault(mut visit: Visit, Posted(form): Posted<FaultForm>) -> Response {
    let made = match form {
        Ok(form) => report(&mut visit, form).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn report(visit: &mut Visit, form: FaultForm) -> Made {
    visit.check_form(&form.form)?;
    let account: AccountId = form.account.parse().map_err(|_| Stop::NotFound)?;
    let (Some(kind), Ok(text), Ok(phone)) =
        (kind(&form.kind), Prose::<1000>::new(&form.text), phone(&form.phone))
    else {
        return show_fault(visit, Some(&form.account.clone()), Some(form)).await;
    };
    let said = [form.account.as_str(), form.kind.as_str(), form.text.as_str(), form.phone.as_str()];
    let operation = requests::FaultReport { account, kind, text, phone };
    Ok(Page::See(match visit.write(&form.key, &said, operation).await? {
        Written::Done(reply) => format!("/requests/{}", reply.request),
        Written::Accepted(operation) => format!("/working/{operation}?next=/requests"),
    }))
}

#[derive(Template)]
#[template(path = "ask_form.html")]
struct AskForm {
    shell: Shell,
    form: String,
    title: String,
    lead: String,
    within: String,
    accounts: Vec<(String, String, bool)>,
    may_be_none: bool,
    fields: Vec<FieldView>,
    wrong: Option<String>,
}

struct FieldView {
    name: String,
    label: String,
    kind: &'static str,
    max: u64,
    required: bool,
    options: Vec<(String, String, bool)>,
    value: String,
    wrong: Option<&'static str>,
}

/// `GET /requests/new/{form}`
pub(super) async fn form_page(
    mut visit: Visit,
    Path(id): Path<String>,
    Asked(query): Asked<AccountQuery>,
) -> Response {
    let made = show_form(&mut visit, &id, query.account.as_deref(), &[], None).await;
    visit.finish(made)
}

/// The fields of a form as a browser sends them.
type Typed = Vec<(String, String)>;

fn typed<'a>(typed: &'a [(String, String)], name: &str) -> &'a str {
    typed.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str())
}

async fn form_of(visit: &mut Visit, id: &str) -> Result<Form, Stop> {
    let forms = visit.read(requests::FormList {}).await?.forms;
    forms.into_iter().find(|form| form.id == id).ok_or(Stop::NotFound)
}

async fn show_form(
    visit: &mut Visit,
    id: &str,
    asked: Option<&str>,
    filled: &[(String, String)],
    wrong: Option<(String, AnswerProblem)>,
) -> Made {
    let chosen = visit.choose_account(asked).await?;
    let form = form_of(visit, id).await?;
    if form.account == AboutAccount::Required && chosen.account.is_none() {
        return Ok(Page::See("/accounts/bind".to_owned()));
    }
    let zh = visit.is_zh();
    let problem = |field: &Field| {
        wrong.as_ref().filter(|(id, _)| *id == field.id).map(|(_, problem)| words_of(visit, field, *problem))
    };
    let fields = form.fields.iter().map(|field| view(field, zh, filled, problem(field)));
    let page = AskForm {
        shell: Shell::within(visit, visit.w.ask_title, Tab::Requests, &chosen),
        form: form.id.clone(),
        title: if zh { form.title_zh.clone() } else { form.title_en.clone() },
        lead: if zh { form.lead_zh.clone() } else { form.lead_en.clone() },
        within: web::words::fill(visit.w.ask_within, &[&form.answer_within_h]),
        accounts: accounts(visit, &form, &chosen, filled),
        may_be_none: form.account == AboutAccount::Optional,
        fields: fields.collect(),
        wrong: wrong.as_ref().map(|_| visit.w.ask_wrong.to_owned()),
    };
    let body = page.render()?;
    Ok(if wrong.is_some() { Page::not_accepted(body) } else { Page::html(body) })
}

fn accounts(
    visit: &Visit,
    form: &Form,
    chosen: &Chosen,
    filled: &[(String, String)],
) -> Vec<(String, String, bool)> {
    if form.account == AboutAccount::None {
        return Vec::new();
    }
    let current = match filled {
        [] => chosen.account.map(|account| account.to_string()).unwrap_or_default(),
        filled => typed(filled, "account").to_owned(),
    };
    let choice = |account: AccountId| {
        let number = account.to_string();
        (number.clone(), visit.f.account(account), number == current)
    };
    chosen.bound.iter().map(|bound| choice(bound.account)).collect()
}

fn view(field: &Field, zh: bool, filled: &[(String, String)], wrong: Option<&'static str>) -> FieldView {
    let name = format!("field-{}", field.id);
    let value = typed(filled, &name).to_owned();
    let option = |choice: &web::domain::forms::Choice| {
        let label = if zh { choice.zh.clone() } else { choice.en.clone() };
        (choice.id.clone(), label, choice.id == value)
    };
    FieldView {
        label: if zh { field.label_zh.clone() } else { field.label_en.clone() },
        kind: match field.kind {
            FieldKind::Line => "line",
            FieldKind::Text => "text",
            FieldKind::Choice => "choice",
            FieldKind::Number => "number",
            FieldKind::Date => "date",
            FieldKind::Phone => "phone",
        },
        max: field.max.unwrap_or(1_000),
        required: field.required,
        options: field.options.iter().map(option).collect(),
        name,
        value,
        wrong,
    }
}

fn words_of(visit: &Visit, field: &Field, problem: AnswerProblem) -> &'static str {
    let w = visit.w;
    match (problem, field.kind) {
        (AnswerProblem::Missing, _) => w.ask_missing,
        (AnswerProblem::TooLong, FieldKind::Number) => w.ask_too_large,
        (AnswerProblem::TooLong, _) => w.ask_too_long,
        (_, FieldKind::Number) => w.ask_number,
        (_, FieldKind::Date) => w.ask_date,
        (_, FieldKind::Phone) => w.login_phone_wrong,
        _ => w.ask_kind,
    }
}

/// `POST /requests/new/{form}`
pub(super) async fn send(mut visit: Visit, Path(id): Path<String>, Posted(form): Posted<Typed>) -> Response {
    let made = match form {
        Ok(form) => create(&mut visit, &id, &form).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn create(visit: &mut Visit, id: &str, filled: &[(String, String)]) -> Made {
    visit.check_form(typed(filled, "form"))?;
    let form = form_of(visit, id).await?;
    let about = match (form.account, typed(filled, "account")) {
        (AboutAccount::None, _) | (AboutAccount::Optional, "") => None,
        (_, number) => Some(number.parse::<AccountId>().map_err(|_| Stop::NotFound)?),
    };
    let mut answers = Vec::new();
    for field in &form.fields {
        let text = typed(filled, &format!("field-{}", field.id));
        let Ok(value) = Prose::new(text) else {
            let wrong = (field.id.clone(), AnswerProblem::TooLong);
            return show_form(visit, id, None, filled, Some(wrong)).await;
        };
        let field: ShortName = field.id.parse().map_err(|_| Stop::NotFound)?;
        answers.push(Answer { field, value });
    }
    // Checked here to be told beside the field; the center checks it again.
    if let Err(error) = form.check_answers(answers.iter().map(|a| (a.field.as_str(), &*a.value))) {
        return show_form(visit, id, None, filled, Some((error.field, error.problem))).await;
    }
    let said: Vec<&str> =
        [id, typed(filled, "account")].into_iter().chain(answers.iter().map(|a| &*a.value)).collect();
    let answers = Few::new(answers.clone()).map_err(|_| Stop::Form)?;
    let form: ShortName = id.parse().map_err(|_| Stop::NotFound)?;
    let operation = requests::RequestCreate { form, account: about, answers };
    Ok(Page::See(match visit.write(typed(filled, "key"), &said, operation).await? {
        Written::Done(reply) => format!("/requests/{}", reply.request),
        Written::Accepted(operation) => format!("/working/{operation}?next=/requests"),
    }))
}
