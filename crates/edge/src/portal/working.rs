//! A write that was taken and is not done yet: the page waits for it and then goes on.
use askama::Template;
use axum::{extract::Path, response::Response};
use protocol::{
    Code, OperationId, Problem, Reply,
    catalogue::{replies::OperationState, requests},
};
use serde::Deserialize;

use super::{
    shell::{Shell, Tab},
    visit::{Asked, Made, Page, Stop, Visit, local_path},
};

/// How often to look, in seconds.
const LOOK_AGAIN_S: u32 = 2;

#[derive(Debug, Default, Deserialize)]
pub(super) struct NextQuery {
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "working.html")]
struct Working {
    shell: Shell,
    again_href: String,
}

/// `GET /working/{operation}`
pub(super) async fn page(
    mut visit: Visit,
    Path(id): Path<String>,
    Asked(query): Asked<NextQuery>,
) -> Response {
    let next = query.next;
    let made = make(&mut visit, &id, next.as_deref().and_then(local_path).unwrap_or("/")).await;
    visit.finish(made)
}

async fn make(visit: &mut Visit, id: &str, next: &str) -> Made {
    let operation: OperationId = id.parse().map_err(|_| Stop::NotFound)?;
    // What was seen includes that it was taken: insisting on that would be waiting here for it to be done.
    let reply = visit.read_unseen(requests::OperationGet { operation }).await?;
    match reply.state {
        OperationState::Accepted => {
            let mut shell = Shell::bare(visit, visit.w.working_title);
            shell.with_tabs = true;
            shell.tab = Tab::None;
            shell.frame.refresh_s = Some(LOOK_AGAIN_S);
            Ok(Page::html(Working { shell, again_href: visit.here.clone() }.render()?))
        }
        OperationState::Applied => Ok(Page::See(match reply.result.as_deref() {
            // Not straight to the provider: whoever was waiting sees first what has become of it.
            Some(Reply::PaymentCreate(created)) => format!("/payments/{}", created.payment),
            _ => next.to_owned(),
        })),
        OperationState::Rejected | OperationState::Failed => {
            let unknown = || Problem::new(Code::OperationFailed, "The operation ended without effect.");
            Err(Stop::Problem(reply.problem.unwrap_or_else(unknown)))
        }
    }
}
