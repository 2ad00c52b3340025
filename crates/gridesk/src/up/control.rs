//! Orders to a running `up`, over a Unix socket in its data folder: how many gates there are to be.
use std::{path::Path, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, put},
};
use bytes::Bytes;
use http_body_util::Full;
use runtime::{shutdown::Shutdown, unix::BindError};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::{System, plan::Places};
use crate::{
    operate::OperateError,
    unix_http::{self, Answer},
};

/// Gates of one machine, at most.
pub const GATES_MAX: u8 = 16;
/// Orders that wait, at most; more are answered `503`.
const WAITING_MAX: usize = 8;
/// How long an order may take: a gate that goes waits for what crosses it.
const WITHIN: Duration = Duration::from_secs(300);

/// How many gates.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Gates {
    gates: u8,
}

/// What is asked of the one who holds the children.
enum Order {
    Scale(u8, oneshot::Sender<Result<u8, String>>),
    Show(oneshot::Sender<serde_json::Value>),
}

/// Orders as they come.
pub(super) struct Control(mpsc::Receiver<Order>);

impl Control {
    /// Listens in the data folder of `places`.
    ///
    /// # Errors
    /// [`BindError`].
    pub(super) fn listen(places: &Places, shutdown: &Shutdown) -> Result<Self, BindError> {
        let (orders, waiting) = mpsc::channel(WAITING_MAX);
        let router = Router::new().route("/", get(show)).route("/gates", put(scale_to)).with_state(orders);
        let listener = runtime::unix::bind(&places.control())?;
        tokio::spawn(runtime::health::serve(listener, router, shutdown));
        Ok(Control(waiting))
    }

    /// Carries out what is ordered, one after the other, for ever.
    pub(super) async fn obey(&mut self, system: &mut System) -> super::UpError {
        loop {
            let order = tokio::select! {
                failed = system.failed() => return failed,
                Some(order) = self.0.recv() => order,
            };
            match order {
                Order::Show(to) => {
                    let shown = serde_json::json!({ "gates": system.gates(), "children": system.children() });
                    to.send(shown).ok();
                }
                Order::Scale(gates, to) => {
                    let done = system.scale(gates).await.map_err(|error| error.to_string());
                    to.send(done.map(|()| system.gates())).ok();
                }
            }
        }
    }
}

type Orders = State<mpsc::Sender<Order>>;

async fn show(State(orders): Orders) -> Response {
    let (to, answer) = oneshot::channel();
    if orders.try_send(Order::Show(to)).is_err() {
        return busy();
    }
    answer.await.map_or_else(|_| busy(), |shown| Json(shown).into_response())
}

async fn scale_to(State(orders): Orders, Json(Gates { gates }): Json<Gates>) -> Response {
    if !(1..=GATES_MAX).contains(&gates) {
        let text = format!("there may be 1 to {GATES_MAX} gates\n");
        return (StatusCode::UNPROCESSABLE_ENTITY, text).into_response();
    }
    let (to, answer) = oneshot::channel();
    if orders.try_send(Order::Scale(gates, to)).is_err() {
        return busy();
    }
    match answer.await {
        Ok(Ok(gates)) => Json(Gates { gates }).into_response(),
        Ok(Err(why)) => (StatusCode::INTERNAL_SERVER_ERROR, why).into_response(),
        Err(_) => busy(),
    }
}

fn busy() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "other orders are under way, or it is stopping; try again\n")
        .into_response()
}

/// Has the system on `data` run so many gates. Answers what is to be printed.
///
/// # Errors
/// [`OperateError`].
pub async fn scale(data: &Path, gates: u8) -> Result<String, OperateError> {
    let root = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
    let socket = Places::of(&root).control();
    let not_running = |source| OperateError::NotRunning { data: data.to_owned(), source };
    let body = Full::new(Bytes::from(format!(r#"{{"gates":{gates}}}"#)));
    let asked = unix_http::put(&socket, "/gates", body, WITHIN).await;
    let Answer { status, body } = asked.map_err(not_running)?;
    if status == 200 {
        return Ok(format!("{gates} gates"));
    }
    let detail = String::from_utf8_lossy(&body).trim().to_owned();
    Err(OperateError::Refused { code: "not done".to_owned(), detail })
}
