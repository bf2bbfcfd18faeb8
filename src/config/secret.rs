//! References to secrets, and fetching what they refer to. No secret is ever written into the configuration itself.

use std::path::Path;

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::Context;
use crate::document::{Mismatch, Node, Readers, read_text};

const MAX_BYTES: usize = 16 * 1_024;

const FORMS: &str = "write `{ file: /path }` for a file only the vault can read, or `{ env: NAME }` for a variable";

/// Fetches the secret that `{ file: /path }` or `{ env: NAME }` refers to, without its final line break.
pub(super) fn fetch(node: Node<'_>, context: &Context<'_>) -> Result<SecretString, Mismatch> {
    let Some(entries) = node.entries() else {
        return Err(Mismatch::new("must not be written here: it is a secret", FORMS));
    };
    let secret = match entries.as_slice() {
        [("file", file)] => from_file(Path::new(file.text()?))?,
        [("env", name)] => from_variable(name.text()?, context)?,
        _ => return Err(Mismatch::new("must say one place the secret is in", FORMS)),
    };
    let trimmed = secret.strip_suffix('\n').map_or(secret.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    if trimmed.is_empty() {
        return Err(Mismatch::new("refers to an empty secret", ""));
    }
    Ok(SecretString::from(trimmed))
}

fn from_file(file: &Path) -> Result<Zeroizing<String>, Mismatch> {
    let text = read_text(file, MAX_BYTES, Readers::OwnerAndGroup).map_err(|mismatch| {
        Mismatch::new(format!("refers to `{}`, which {}", file.display(), mismatch.problem), mismatch.hint)
    })?;
    Ok(Zeroizing::new(text))
}

fn from_variable(name: &str, context: &Context<'_>) -> Result<Zeroizing<String>, Mismatch> {
    let named = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !named {
        return Err(Mismatch::new("does not name an environment variable", "write `{ env: NAME }`, without `$`"));
    }
    let value = context.variables.get(name);
    value
        .map(|value| Zeroizing::new(value.clone()))
        .ok_or_else(|| Mismatch::new(format!("refers to the environment variable `{name}`, which is not set"), ""))
}
