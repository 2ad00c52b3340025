//! What is around every page of the portal: header, account switcher, bottom bar.
use protocol::{
    AccountId,
    catalogue::{replies::BoundAccount, requests},
};
use web::{Frame, format::Amount, language};

use super::{
    cookies::name,
    visit::{Stop, Visit, YEAR_S},
    words::Words,
};

/// Where one is: which entry of the navigation is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tab {
    Home,
    Bills,
    Usage,
    Payments,
    Requests,
    Me,
    /// Pages outside of it, such as logging in.
    None,
}

/// An account in the switcher.
#[derive(Debug)]
pub(super) struct AccountChoice {
    pub(super) label: String,
    pub(super) href: String,
    pub(super) is_current: bool,
}

/// The parts of a page that are not its own.
#[derive(Debug)]
pub(super) struct Shell {
    pub(super) frame: Frame,
    pub(super) w: &'static Words,
    pub(super) tab: Tab,
    /// Whether navigation is shown.
    pub(super) with_tabs: bool,
    pub(super) accounts: Vec<AccountChoice>,
    /// The number of the account shown: all but its last group, and that.
    pub(super) account_head: String,
    pub(super) account_tail: String,
    pub(super) language_href: String,
    pub(super) size_href: String,
    pub(super) form_token: String,
    pub(super) form_key: String,
    /// The number to call.
    pub(super) hotline: String,
}

impl Shell {
    /// The shell of a page that says nothing about an account.
    pub(super) fn bare(visit: &Visit, title: &str) -> Shell {
        let other = if visit.is_zh() { "en" } else { "zh" };
        let size = if visit.elder { "normal" } else { "large" };
        let title = format!("{title} · {}", visit.w.brand);
        Shell {
            frame: Frame::new(visit.language, title, visit.elder),
            w: visit.w,
            tab: Tab::None,
            with_tabs: false,
            accounts: Vec::new(),
            account_head: String::new(),
            account_tail: String::new(),
            language_href: with_switch(&visit.here, "lang", other),
            size_href: with_switch(&visit.here, "size", size),
            form_token: visit.form_token(),
            form_key: visit.form_key(),
            hotline: visit.portal.config.hotline.to_string(),
        }
    }

    /// The shell of a page for somebody who is logged in.
    pub(super) fn within(visit: &Visit, title: &str, tab: Tab, chosen: &Chosen) -> Shell {
        let path = match tab {
            Tab::Home | Tab::None => "/",
            Tab::Bills => "/bills",
            Tab::Usage => "/usage",
            Tab::Payments => "/payments",
            Tab::Requests => "/requests",
            Tab::Me => "/me",
        };
        let choice = |bound: &BoundAccount| AccountChoice {
            label: visit.f.account(bound.account),
            href: format!("{path}?account={}", bound.account),
            is_current: Some(bound.account) == chosen.account,
        };
        let label = chosen.account.map(|account| visit.f.account(account)).unwrap_or_default();
        let (head, tail) = label.rsplit_once(' ').unwrap_or(("", &label));
        Shell {
            tab,
            with_tabs: true,
            accounts: chosen.bound.iter().map(choice).collect(),
            account_head: head.to_owned(),
            account_tail: tail.to_owned(),
            ..Shell::bare(visit, title)
        }
    }

    /// Whether the tab of that name is the current one.
    pub(super) fn is(&self, tab: &str) -> bool {
        match self.tab {
            Tab::Home => tab == "home",
            Tab::Bills => tab == "bills",
            Tab::Usage => tab == "usage",
            // Paying belongs to bills: on a phone there is room for five.
            Tab::Payments => tab == "bills",
            Tab::Requests => tab == "requests",
            Tab::Me => tab == "me",
            Tab::None => false,
        }
    }

    /// What the switch of type size does.
    pub(super) fn size_word(&self) -> &'static str {
        if self.frame.elder { self.w.normal_type } else { self.w.larger_type }
    }

    /// The language code of the other language, for its link.
    pub(super) fn other_language(&self) -> &'static str {
        let other = if self.frame.is_zh() { web::Language::En } else { web::Language::Zh };
        language::tag(other)
    }
}

fn with_switch(here: &str, key: &str, value: &str) -> String {
    let joint = if here.contains('?') { '&' } else { '?' };
    format!("{here}{joint}{key}={value}")
}

/// The customer's accounts, and the one that is shown.
pub(super) struct Chosen {
    pub(super) bound: Vec<BoundAccount>,
    pub(super) account: Option<AccountId>,
}

impl Visit {
    /// Finds out which account to show: the one `asked` for, the last one shown, or the first.
    pub(super) async fn choose_account(&mut self, asked: Option<&str>) -> Result<Chosen, Stop> {
        let bound = self.read(requests::AccountList {}).await?.accounts;
        let is_bound = |account: &AccountId| bound.iter().any(|b| b.account == *account);
        let account = match asked {
            Some(text) => {
                let account = text.parse().ok().filter(is_bound).ok_or(Stop::NotFound)?;
                Some(account)
            }
            None => self.last_account().filter(is_bound).or_else(|| bound.first().map(|b| b.account)),
        };
        if let Some(account) = account.filter(|account| self.last_account() != Some(*account)) {
            self.cookies.set(name::ACCOUNT, account.to_string(), YEAR_S);
        }
        Ok(Chosen { bound, account })
    }
}

/// An amount, large, with its unit small beside it.
pub(super) fn figure(amount: &Amount, class: &str) -> String {
    let part = |class: &str, text: &str| {
        if text.is_empty() { String::new() } else { format!(r#"<small class="{class}">{text}</small>"#) }
    };
    let (before, after) = (part("pre", amount.before), part("post", amount.after));
    format!(r#"<span class="figure {class}">{before}{}{after}</span>"#, amount.number)
}

/// A quantity, large, with its unit small beside it.
pub(super) fn quantity(number: &str, unit: &str, class: &str) -> String {
    format!(r#"<span class="figure {class}">{number}<small class="post">{unit}</small></span>"#)
}
