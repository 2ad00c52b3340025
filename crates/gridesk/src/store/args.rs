//! What `gridesk store keep`, `get` and `status` are told.
use std::path::PathBuf;

use clap::Args;

/// Which bucket. The credentials come from the environment alone: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, where they are
/// given for a time, AWS_SESSION_TOKEN.
#[derive(Clone, Debug, Args)]
pub struct BucketArgs {
    /// The bucket
    #[arg(long, value_name = "NAME", requires = "endpoint")]
    pub bucket: Option<String>,
    /// Where the object store is, as in https://objects.main.utility.example:9000
    #[arg(long, value_name = "URL", requires = "bucket")]
    pub endpoint: Option<String>,
    /// Its region, as its signatures name it
    #[arg(long, value_name = "R", default_value = "us-east-1")]
    pub region: String,
    /// What all keys begin with, as in gridesk/
    #[arg(long, value_name = "P", default_value = "")]
    pub prefix: String,
    /// Let the endpoint be http://: credentials are signed with and not sent, but customers' files are sent in the clear
    #[arg(long)]
    pub allow_http: bool,
}

/// `gridesk store keep`
#[derive(Clone, Debug, Args)]
pub struct KeepArgs {
    /// The store of a gate's inner half
    #[arg(long, value_name = "DIR")]
    pub store: PathBuf,
    /// Where it is noted what is kept; one program works on it
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// Which bucket
    #[command(flatten)]
    pub bucket: BucketArgs,
    /// Remove the local copy of what has been kept for so many hours, if the bucket has it then
    #[arg(long, value_name = "HOURS")]
    pub free_after: Option<u32>,
    /// How many files are put at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub concurrency: u8,
    /// End after one walk; exit status 1 if something is not kept
    #[arg(long)]
    pub once: bool,
}

/// `gridesk store get`
#[derive(Clone, Debug, Args)]
pub struct GetArgs {
    /// The BLAKE3 hash of its content, 64 hexadecimal digits
    #[arg(value_name = "HASH")]
    pub hash: String,
    /// The store of a gate's inner half
    #[arg(long, value_name = "DIR")]
    pub store: PathBuf,
    /// Which bucket, if it is not in the store
    #[command(flatten)]
    pub bucket: BucketArgs,
    /// Where to; it must not be there yet
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}
