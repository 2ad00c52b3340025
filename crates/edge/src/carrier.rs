//! Who takes what goes outward: the carrier of short messages, and the payment providers.
use std::{collections::BTreeMap, time::Duration};

use protocol::{
    PushId,
    bounds::{Opaque, ShortName, Text},
};
use reqwest::RequestBuilder;
use serde::Serialize;

use crate::config::{Config, Sms};

/// How long one of them may take to answer.
const WITHIN: Duration = Duration::from_secs(10);

/// How a try to deliver ended.
pub(crate) enum Try {
    Delivered,
    /// Another try may succeed.
    NotNow(String),
    /// No other try will.
    Never(String),
}

/// A short message.
#[derive(Serialize)]
pub(crate) struct Message {
    /// The same on every try.
    pub(crate) id: PushId,
    pub(crate) to: String,
    pub(crate) text: String,
    pub(crate) code: String,
}

/// All of them.
pub(crate) struct Carriers {
    client: reqwest::Client,
    messages_url: String,
    instructions_urls: BTreeMap<ShortName, String>,
}

impl Carriers {
    pub(crate) fn new(config: &Config) -> Result<Self, reqwest::Error> {
        let Sms::Sim { url } = &config.sms;
        let client = reqwest::Client::builder()
            .timeout(WITHIN)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let providers = config.providers.iter();
        Ok(Carriers {
            client,
            messages_url: format!("{}/inbox/messages", url.trim_end_matches('/')),
            instructions_urls: providers
                .map(|(name, p)| (name.clone(), p.instructions_url.clone()))
                .collect(),
        })
    }

    /// Hands a short message over.
    pub(crate) async fn message(&self, message: &Message) -> Try {
        sent("the carrier", self.client.post(&self.messages_url).json(message)).await
    }

    /// Hands an instruction to a payment provider, byte by byte as it was signed.
    pub(crate) async fn instruction(
        &self,
        id: PushId,
        provider: &ShortName,
        timestamp_s: u64,
        signature: &Text<128>,
        body: &Opaque<4096>,
    ) -> Try {
        let Some(url) = self.instructions_urls.get(provider) else {
            return Try::Never(format!("no address of the provider {provider} is set here"));
        };
        let request = self
            .client
            .post(url)
            .header("content-type", "application/json")
            .header("instruction-id", id.to_string())
            .header("instruction-timestamp", timestamp_s)
            .header("instruction-signature", &**signature)
            .body(body.to_vec());
        sent("the payment provider", request).await
    }
}

async fn sent(who: &str, request: RequestBuilder) -> Try {
    let answer = match request.send().await {
        Ok(answer) => answer,
        // Without the address: it may hold a key, and the text goes inside.
        Err(error) => return Try::NotNow(format!("{who} cannot be reached: {}", error.without_url())),
    };
    match answer.status() {
        status if status.is_success() => Try::Delivered,
        status if status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429) => {
            Try::NotNow(format!("{who} says {}", status.as_u16()))
        }
        status => Try::Never(format!("{who} refuses it with {}", status.as_u16())),
    }
}
