//! The command line of `brainyd import-standalone`.

use std::path::PathBuf;

use brainy_coordination::store::s3::{Credentials, S3Config};
use clap::Args;

/// Takes the data of a standalone brainyd into an empty prefix of a bucket, where a cluster then goes on with it.
///
/// Stop the standalone brainyd first. Everything is copied and verified: collections with their points, payload indexes, aliases
/// and snapshots; the number of partitions of each collection stays what it was. The prefix becomes a cluster at the very end, so
/// start nodes, or apply the BrainyCluster, after this command has ended with exit code 0. The directory is not changed. If the
/// command is interrupted, run it again: it goes on where it was.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "EXIT CODES\n  0   everything is in the bucket\n  2   wrong options\n  69  the directory, the bucket or the prefix cannot be used, \
                  or an object is damaged\n  75  the directory is in use, or the bucket does not answer; try again"
)]
pub struct ImportStandalone {
    /// Data directory of the standalone brainyd.
    #[arg(long, env = "BRAINY_DATA_DIR", default_value = "brainy-data")]
    pub data_dir: PathBuf,
    /// Bucket of the cluster.
    #[arg(long, env = "BRAINY_S3_BUCKET")]
    pub s3_bucket: String,
    /// Prefix of the cluster in the bucket, in which nothing is yet.
    #[arg(long, env = "BRAINY_S3_PREFIX", default_value = "")]
    pub s3_prefix: String,
    /// Endpoint of a store that is not AWS's, such as http://minio:9000.
    #[arg(long, env = "BRAINY_S3_ENDPOINT")]
    pub s3_endpoint: Option<String>,
    /// Region of the bucket.
    #[arg(long, env = "BRAINY_S3_REGION")]
    pub s3_region: Option<String>,
    /// Name the bucket in the path in place of the host name.
    #[arg(long, env = "BRAINY_S3_PATH_STYLE")]
    pub s3_path_style: bool,
}

impl ImportStandalone {
    /// How to reach the bucket. Credentials come from the SDK's chain.
    #[must_use]
    pub fn s3(&self) -> S3Config {
        let mut config = S3Config::new(self.s3_bucket.clone());
        config.prefix = self.s3_prefix.trim_matches('/').to_owned();
        config.endpoint.clone_from(&self.s3_endpoint);
        config.region.clone_from(&self.s3_region);
        config.path_style = self.s3_path_style;
        config.credentials = Credentials::DefaultChain;
        config
    }
}
