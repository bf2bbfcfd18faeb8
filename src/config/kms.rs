//! Who wraps the data keys.

use std::path::PathBuf;

use url::Url;

use super::store::is_loopback;
use super::{Context, path};
use crate::document::{Mismatch, Node, Section};

/// Who wraps the data keys.
#[derive(Debug, Clone)]
pub enum KmsConfig {
    /// A key in a file of this machine.
    Local(LocalKmsConfig),
    /// AWS Key Management Service.
    Aws(AwsKmsConfig),
}

/// A key in a file of this machine: whoever reads the file and the store reads every token.
#[derive(Debug, Clone)]
pub struct LocalKmsConfig {
    /// The file with the key.
    pub key_file: PathBuf,
}

/// AWS Key Management Service. Credentials come from where AWS puts them.
#[derive(Debug, Clone)]
pub struct AwsKmsConfig {
    /// The key: an id, an ARN or an alias.
    pub key_id: String,
    /// Keys that may have wrapped what is opened, beside that one: while one is being replaced.
    pub other_key_ids: Vec<String>,
    /// The region; `None`: as the environment says.
    pub region: Option<String>,
    /// Another endpoint, such as a VPC endpoint.
    pub endpoint: Option<String>,
}

/// Keys of the key service that may be named beside the one that wraps.
const MOST_KEYS: usize = 4;

#[derive(Clone, Copy)]
enum Provider {
    Local,
    Aws,
}

pub(super) fn read(section: &mut Section<'_>, context: &Context<'_>) -> Option<KmsConfig> {
    let providers = [("local", Provider::Local), ("aws", Provider::Aws)];
    let provider = section.optional("provider", |node| node.one_of(&providers)).unwrap_or(Provider::Local);
    let local = section.section("local", |section| local(section, context));
    let aws = section.section("aws", |section| aws(section, context, provider)).flatten();
    match provider {
        Provider::Local => {
            let (local, accepted) = local?;
            if !accepted && !context.development {
                section.fault(
                    "provider",
                    "keeps the key beside what it protects, which is for development",
                    "use `aws`, set `environment: dev`, or accept it with `kms.local.accept_in_production: true`",
                );
            }
            Some(KmsConfig::Local(local))
        }
        Provider::Aws => aws.map(KmsConfig::Aws),
    }
}

fn local(section: &mut Section<'_>, context: &Context<'_>) -> (LocalKmsConfig, bool) {
    let key_file = section.optional("key_file", path).unwrap_or_else(|| context.data_dir.join("kms.key"));
    let accepted = section.optional("accept_in_production", Node::boolean).unwrap_or_default();
    (LocalKmsConfig { key_file }, accepted)
}

fn aws(section: &mut Section<'_>, context: &Context<'_>, provider: Provider) -> Option<AwsKmsConfig> {
    let key_id = match provider {
        Provider::Local => section.optional("key_id", Node::text),
        Provider::Aws => section.required("key_id", Node::text),
    };
    let others = section.list("other_key_ids", Node::text).unwrap_or_default();
    if others.len() > MOST_KEYS {
        section.fault("other_key_ids", format!("may name at most {MOST_KEYS} keys"), "one key is replaced at a time");
    }
    let other_key_ids = others.into_iter().map(str::to_owned).collect();
    let region = section.optional("region", Node::text).map(str::to_owned);
    let endpoint = section.optional("endpoint", |node| endpoint(node, context));
    Some(AwsKmsConfig { key_id: key_id?.to_owned(), other_key_ids, region, endpoint })
}

pub(super) fn endpoint(node: Node<'_>, context: &Context<'_>) -> Result<String, Mismatch> {
    let text = node.text()?;
    let url = Url::parse(text).map_err(|_| Mismatch::new("is not an absolute URL", ""))?;
    let local = context.development && is_loopback(&url);
    match url.scheme() {
        "https" => Ok(text.to_owned()),
        "http" if local => Ok(text.to_owned()),
        _ => Err(Mismatch::new("must begin with `https://`", "http is for this machine, in development")),
    }
}
