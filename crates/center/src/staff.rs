//! The staff's own log-in: a name and a password from the settings, for a token of a working day.
use std::{sync::Arc, time::Duration};

use argon2::{Argon2, PasswordVerifier};
use protocol::{
    Code, Outcome, Problem, Reply, Token,
    bounds::{Secret, ShortName},
    catalogue::replies,
    session::STAFF_TTL_S,
};
use tokio::sync::Semaphore;

use crate::node::{Answer, Node};

/// So many wrong passwords for a name, and it is closed for [`CLOSED`].
const MOST_WRONG: u32 = 5;
const CLOSED: Duration = Duration::from_secs(15 * 60);
/// Passwords checked at once: each takes tens of milliseconds and tens of megabytes.
const CHECKED_AT_ONCE: usize = 2;
/// How long a check may wait for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(2);

/// What the node remembers of those who log in.
pub(crate) struct Staff {
    wrong: moka::sync::Cache<ShortName, u32>,
    turns: Arc<Semaphore>,
}

impl Staff {
    pub(crate) fn new() -> Self {
        Staff {
            wrong: moka::sync::Cache::builder().max_capacity(10_000).time_to_live(CLOSED).build(),
            turns: Arc::new(Semaphore::new(CHECKED_AT_ONCE)),
        }
    }
}

impl Node {
    pub(crate) async fn staff_login(
        &self,
        name: &ShortName,
        password: &Secret<128>,
    ) -> Result<Answer, Problem> {
        let staff = &self.parts.staff;
        let wrong = staff.wrong.get(name).unwrap_or(0);
        if wrong >= MOST_WRONG {
            let why = "Too many wrong passwords. Wait a quarter of an hour.";
            return Err(Problem::new(Code::TooManyAttempts, why).retry_after(CLOSED.as_secs() as u32));
        }
        // Counted before it is known, so that many at once are not more than many one after the other.
        staff.wrong.insert(name.clone(), wrong + 1);
        let Ok(Ok(_turn)) = tokio::time::timeout(TURN_WITHIN, staff.turns.acquire()).await else {
            return Err(Problem::new(Code::Overloaded, "Too many log in at once. Try again."));
        };
        let known = self.parts.config.staff.iter().find(|member| member.name == *name).cloned();
        let (hash, typed) = (known.as_ref().map(|member| member.password_hash.clone()), password.clone());
        let checked = tokio::task::spawn_blocking(move || match hash {
            Some(hash) => Argon2::default().verify_password(typed.expose().as_bytes(), &hash.hash()).is_ok(),
            // As long as for somebody who is known.
            None => {
                let mut out = [0; 32];
                Argon2::default().hash_password_into(typed.expose().as_bytes(), &[0; 16], &mut out).is_err()
            }
        });
        let is_right = checked.await.map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
        let Some(member) = known.filter(|_| is_right) else {
            return Err(Problem::new(Code::Unauthenticated, "Name or password is wrong."));
        };
        staff.wrong.invalidate(name);
        tracing::info!(%name, "a member of the staff logged in");
        let now_s = self.parts.clock.unix_ms() / 1000;
        let token = self.parts.keys.sign_staff(member.name, member.roles.clone(), now_s);
        let reply = replies::StaffLogin { token, expires_in_s: STAFF_TTL_S, roles: member.roles };
        Ok(Answer { outcome: Outcome::Done(Reply::StaffLogin(reply)), token: Token::default() })
    }
}
