//! The headers of every page.
//!
//! The policy allows what we serve ourselves and nothing else: no script or style in the page, no outside request,
//! no frame. So a text that should slip through escaping still cannot run.

/// Where forms of a page may lead. A browser holds a form's redirects to this too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormTargets {
    /// Our own pages.
    Own,
    /// Also where a payment provider takes over: any host by https (by http as well while the portal itself is
    /// plain http, as it is on one machine).
    Payment {
        /// Whether plain http is allowed.
        plain_http: bool,
    },
}

/// The `Content-Security-Policy` of a page.
pub fn content_security_policy(targets: FormTargets) -> String {
    let form_action = match targets {
        FormTargets::Own => "'self'",
        FormTargets::Payment { plain_http: false } => "'self' https:",
        FormTargets::Payment { plain_http: true } => "'self' https: http:",
    };
    format!(
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; object-src 'none'; \
         base-uri 'none'; frame-ancestors 'none'; form-action {form_action}"
    )
}

/// The other headers of every page. Pages show personal data, so no cache keeps them.
pub const PAGE: &[(&str, &str)] = &[
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
];

/// Sent too where the portal is reached by https: a year, as browsers ask for.
pub const STRICT_TRANSPORT: (&str, &str) =
    ("strict-transport-security", "max-age=31536000; includeSubDomains");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_inline_and_nothing_from_outside_is_allowed() {
        let policy = content_security_policy(FormTargets::Own);
        assert!(policy.contains("default-src 'self'") && policy.ends_with("form-action 'self'"));
        assert!(!policy.contains("unsafe") && !policy.contains('*'));
        assert!(
            content_security_policy(FormTargets::Payment { plain_http: false }).ends_with("'self' https:")
        );
    }
}
