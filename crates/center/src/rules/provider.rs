//! What payment providers are told to do.
use protocol::{
    PushId,
    bounds::{Opaque, Text},
    payment::{Instruction, sign_instruction},
    push::PushBody,
};
use storage::{message::NewMessage, rows::Put};

use super::Rules;
use crate::config::Provider;

impl Rules {
    /// A provider by its name.
    pub(crate) fn provider(&self, name: &str) -> Option<&Provider> {
        self.providers.iter().find(|provider| provider.name.as_str() == name)
    }
}

impl Provider {
    /// Where it answers to.
    pub(super) fn notify_url(&self, public_url: &str) -> String {
        format!("{public_url}/v1/callbacks/payments/{}", self.name)
    }

    /// The push that tells it, once an operation; `None` where it cannot be told (an address of ours is too long).
    pub(super) fn instruct(&self, message: &NewMessage, instruction: &Instruction) -> Option<Put> {
        let id = PushId::from_bits(message.operation.bits());
        let timestamp_s = message.origin.accepted_ms / 1000;
        let body = serde_json::to_vec(instruction).ok()?;
        let signature = sign_instruction(self.secret.bytes(), &id.to_string(), timestamp_s, &body);
        let body = PushBody::Instruction {
            provider: self.name.clone(),
            timestamp_s,
            signature: Text::new(signature).ok()?,
            body: Opaque::new(body).ok()?,
        };
        Some(Put::Push { id, body })
    }
}
