//! The bucket: put, look, get, each within a time, and errors that say what to do.
use std::{error::Error, sync::Arc, time::Duration};

use bytes::Bytes;
use object_store::{
    BackoffConfig, GetResult, MultipartUpload, ObjectStore, ObjectStoreExt, RetryConfig,
    aws::{AmazonS3Builder, Checksum},
    client::HttpError,
    path::Path,
};
use protocol::file::{self, Hash};

use super::{args::BucketArgs, transport::Transport};

/// As often is asked again, after 0.2, 0.4, … seconds.
const RETRIES: usize = 4;
/// No question takes longer, retries and all.
const WITHIN: Duration = Duration::from_secs(300);

/// Why the object store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// It is not said which one it is, or who asks.
    #[error("{0}")]
    Settings(String),
    /// Nobody answers there.
    #[error(
        "{endpoint} cannot be reached: see that --endpoint is right, the object store runs, and the firewall lets this host go there"
    )]
    Away {
        /// Where.
        endpoint: String,
        /// What was said.
        #[source]
        source: object_store::Error,
    },
    /// It answers, and refuses.
    #[error(
        "bucket {bucket} refuses: see that AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are right, and may put and get objects there"
    )]
    Refused {
        /// Which.
        bucket: String,
        /// What was said.
        #[source]
        source: object_store::Error,
    },
    /// The bucket or the object is not there.
    #[error("bucket {bucket} has no {key}, or is not there itself")]
    Missing {
        /// Which.
        bucket: String,
        /// What.
        key: String,
        /// What was said.
        #[source]
        source: object_store::Error,
    },
    /// It took too long.
    #[error("bucket {bucket} did not answer within {} s", WITHIN.as_secs())]
    Late {
        /// Which.
        bucket: String,
    },
    /// What was put is there with another size.
    #[error("{key} has {found} bytes in the bucket and {size} here: something else writes there")]
    Differs {
        /// Which.
        key: String,
        /// In the bucket.
        found: u64,
        /// Here.
        size: u64,
    },
    /// Anything else.
    #[error("the object store failed")]
    Failed(#[source] object_store::Error),
}

/// A bucket of an S3-compatible object store, and what all keys in it begin with. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    store: Arc<dyn ObjectStore>,
    endpoint: Arc<str>,
    name: Arc<str>,
    prefix: Arc<str>,
}

impl Bucket {
    /// Opens it, which asks it nothing yet.
    ///
    /// # Errors
    /// [`BucketError::Settings`] with what is missing.
    pub(super) fn open(args: &BucketArgs) -> Result<Self, BucketError> {
        let (name, endpoint) = checked(args).map_err(BucketError::Settings)?;
        let mut s3 = AmazonS3Builder::new()
            .with_bucket_name(name)
            .with_endpoint(endpoint)
            .with_region(&args.region)
            .with_access_key_id(from_environment("AWS_ACCESS_KEY_ID")?)
            .with_secret_access_key(from_environment("AWS_SECRET_ACCESS_KEY")?)
            .with_allow_http(args.allow_http)
            .with_checksum_algorithm(Checksum::SHA256)
            .with_retry(RetryConfig {
                backoff: BackoffConfig {
                    init_backoff: Duration::from_millis(200),
                    max_backoff: Duration::from_secs(5),
                    base: 2.0,
                },
                max_retries: RETRIES,
                retry_timeout: Duration::from_secs(60),
            })
            .with_http_connector(Transport::new(args.allow_http).map_err(|error| {
                BucketError::Settings(format!(
                    "this host's certificate authorities cannot be read ({error}): install ca-certificates, or name a file of them in SSL_CERT_FILE"
                ))
            })?);
        if let Ok(token) = std::env::var("AWS_SESSION_TOKEN") {
            s3 = s3.with_token(token);
        }
        Ok(Self {
            store: Arc::new(s3.build().map_err(BucketError::Failed)?),
            endpoint: endpoint.trim_end_matches('/').into(),
            name: name.into(),
            prefix: args.prefix.as_str().into(),
        })
    }

    /// What it is called in notes and messages, prefix and all.
    pub(super) fn home(&self) -> String {
        format!("{}/{}/{}", self.endpoint, self.name, self.prefix)
    }

    /// The key of content of this hash: `{prefix}ab/cdef…`.
    pub(super) fn key(&self, hash: &Hash) -> Path {
        // `checked` let only characters through that stay as they are.
        Path::from(format!("{}{}", self.prefix, file::place(hash).display()))
    }

    /// Puts a small file, with its SHA-256.
    pub(super) async fn put(&self, key: &Path, content: Bytes) -> Result<(), BucketError> {
        self.within(key, self.store.put(key, content.into())).await.map(|_| ())
    }

    /// Begins to put a large one.
    pub(super) async fn begin(&self, key: &Path) -> Result<Box<dyn MultipartUpload>, BucketError> {
        self.within(key, self.store.put_multipart(key)).await
    }

    /// How many bytes it has of it.
    pub(super) async fn size(&self, key: &Path) -> Result<u64, BucketError> {
        Ok(self.within(key, self.store.head(key)).await?.size)
    }

    /// Whether it has all of it.
    pub(super) async fn has(&self, key: &Path, size: u64) -> Result<(), BucketError> {
        match self.size(key).await? {
            found if found == size => Ok(()),
            found => Err(BucketError::Differs { key: key.to_string(), found, size }),
        }
    }

    /// Its content, to be read as it comes.
    pub(super) async fn get(&self, key: &Path) -> Result<GetResult, BucketError> {
        self.within(key, self.store.get(key)).await
    }

    /// Waits for an answer, but not for ever.
    pub(super) async fn within<T>(
        &self,
        key: &Path,
        answer: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, BucketError> {
        match tokio::time::timeout(WITHIN, answer).await {
            Ok(answer) => answer.map_err(|error| self.said(key, error)),
            Err(_) => Err(BucketError::Late { bucket: self.name.to_string() }),
        }
    }

    fn said(&self, key: &Path, source: object_store::Error) -> BucketError {
        use object_store::Error::{NotFound, PermissionDenied, Unauthenticated};
        let bucket = self.name.to_string();
        let first: &(dyn Error + 'static) = &source;
        let mut causes = std::iter::successors(Some(first), |&cause| cause.source());
        let unheard = causes.any(|cause| cause.downcast_ref::<HttpError>().is_some());
        match source {
            NotFound { .. } => BucketError::Missing { bucket, key: key.to_string(), source },
            PermissionDenied { .. } | Unauthenticated { .. } => BucketError::Refused { bucket, source },
            _ if unheard => BucketError::Away { endpoint: self.endpoint.to_string(), source },
            _ => BucketError::Failed(source),
        }
    }
}

/// Bucket and endpoint, if they and the prefix can be meant.
fn checked(args: &BucketArgs) -> Result<(&str, &str), String> {
    let (Some(name), Some(endpoint)) = (args.bucket.as_deref(), args.endpoint.as_deref()) else {
        return Err("name the bucket: --bucket NAME --endpoint URL".to_owned());
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || !name.chars().all(plain) {
        return Err(format!("--bucket {name}: not a name of a bucket"));
    }
    let segments = args.prefix.strip_suffix('/').unwrap_or(&args.prefix).split('/');
    let prefix_ok = args.prefix.is_empty()
        || args.prefix.ends_with('/')
            && segments
                .into_iter()
                .all(|one| !one.is_empty() && one.chars().all(plain) && !one.starts_with('.'));
    if !prefix_ok {
        return Err(format!(
            "--prefix {}: letters, digits, - and _, with / between and at the end",
            args.prefix
        ));
    }
    let rest = match (endpoint.strip_prefix("https://"), endpoint.strip_prefix("http://")) {
        (Some(rest), _) => rest,
        (None, Some(rest)) if args.allow_http => rest,
        (None, Some(_)) => {
            return Err(format!(
                "--endpoint {endpoint} is not encrypted: use https://, or say --allow-http where nobody can listen"
            ));
        }
        _ => return Err(format!("--endpoint {endpoint}: begins with https://")),
    };
    if rest.contains('@') {
        return Err("--endpoint: credentials come from the environment, not from the address".to_owned());
    }
    if rest.is_empty() || rest.chars().any(|c| c.is_whitespace() || matches!(c, '?' | '#')) {
        return Err(format!("--endpoint {endpoint}: not an address"));
    }
    Ok((name, endpoint))
}

fn from_environment(name: &str) -> Result<String, BucketError> {
    std::env::var(name).ok().filter(|value| !value.is_empty()).ok_or_else(|| {
        BucketError::Settings(format!(
            "{name} is not set: the credentials of the object store come from the environment, such as a unit's EnvironmentFile"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(bucket: &str, endpoint: &str, prefix: &str, allow_http: bool) -> BucketArgs {
        BucketArgs {
            bucket: Some(bucket.to_owned()),
            endpoint: Some(endpoint.to_owned()),
            region: "r".to_owned(),
            prefix: prefix.to_owned(),
            allow_http,
        }
    }

    #[test]
    fn only_what_can_be_meant_is_taken() {
        let ok = |bucket, endpoint, prefix, http| checked(&args(bucket, endpoint, prefix, http)).is_ok();
        for prefix in ["", "gridesk/", "a/b-1/"] {
            assert!(ok("files", "https://s3.example:9000", prefix, false), "{prefix}");
        }
        for prefix in ["gridesk", "/", "a//", "../", "a b/", "%41/"] {
            assert!(!ok("files", "https://s3.example", prefix, false), "{prefix}");
        }
        assert!(ok("files", "http://127.0.0.1:1", "", true));
        for endpoint in ["http://127.0.0.1:1", "s3.example", "https://", "https://a:b@c", "https://c/?x"] {
            assert!(!ok("files", endpoint, "", false), "{endpoint}");
        }
        for bucket in ["", "a/b", "a?"] {
            assert!(!ok(bucket, "https://s3.example", "", false), "{bucket}");
        }
    }
}
