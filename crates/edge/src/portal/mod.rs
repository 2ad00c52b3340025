//! The customer portal.
use std::sync::Arc;

use crate::{config::Config, inward::Inward};

/// The portal's pages.
pub fn router(_inward: Inward, _config: Arc<Config>) -> axum::Router {
    axum::Router::new()
}
