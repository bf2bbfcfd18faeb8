//! The credential headers: who calls is known before anything of the request is read.

use std::sync::{Arc, Mutex, PoisonError};

use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::context::CallContext;
use super::{convert, status};
use crate::access::{Arrival, Call, Credentials, Guard};
use crate::domain::error::VaultError;

/// Takes the credentials out of a call's headers and has them verified, or turns the call away.
#[derive(Clone)]
pub(super) struct TakeCredentials {
    pub(super) guard: Arc<Guard>,
}

/// A call that was let in, on its way to the method: taken once.
#[derive(Clone)]
pub(super) struct Admitted(Arc<Mutex<Option<Call>>>);

const ENGINE_ID: &str = "x-engine-id";
const ENGINE_KEY: &str = "x-engine-key";
/// The binary forms of the same names: a second way in that nobody needs.
const BINARY: [&str; 2] = ["x-engine-id-bin", "x-engine-key-bin"];
const LONGEST: usize = 128;

// === impl TakeCredentials ===

impl Interceptor for TakeCredentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let Some(CallContext { request: id, method, peer, workload }) =
            request.extensions().get::<CallContext>().cloned()
        else {
            return Err(status::of(&VaultError::Internal("the server is built without its layers").into()));
        };
        let credentials = credentials(request.metadata());
        let time_limit = convert::time_limit(request.metadata());
        let call = self.guard.admit(Arrival { request: id, method, peer, workload, credentials, time_limit });
        let call = call.map_err(|refusal| status::of(&refusal))?;
        // Nothing behind this point sees the key in a header, where it could be forwarded or logged.
        request.metadata_mut().remove(ENGINE_ID);
        request.metadata_mut().remove(ENGINE_KEY);
        request.extensions_mut().insert(Admitted(Arc::new(Mutex::new(Some(call)))));
        Ok(request)
    }
}

// === impl Admitted ===

impl Admitted {
    pub(super) fn take(&self) -> Option<Call> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Each header exactly once, short, and nothing but visible ASCII without a comma: a comma is how a proxy joins two
/// values into one.
fn credentials(headers: &MetadataMap) -> Option<Credentials> {
    let only = |name: &str| {
        let mut values = headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        let plain = |b: u8| b.is_ascii_graphic() && b != b',';
        (values.next().is_none() && !value.is_empty() && value.len() <= LONGEST && value.bytes().all(plain))
            .then(|| value.to_owned())
    };
    if BINARY.iter().any(|name| headers.contains_key(*name)) {
        return None;
    }
    Some(Credentials::new(only(ENGINE_ID)?, only(ENGINE_KEY)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> MetadataMap {
        let mut map = http::HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        MetadataMap::from_headers(map)
    }

    #[test]
    fn one_id_and_one_key_are_taken() {
        assert!(credentials(&headers(&[(ENGINE_ID, "action"), (ENGINE_KEY, "tvk1_x")])).is_some());
    }

    #[test]
    fn anything_else_is_malformed() {
        let long = "x".repeat(LONGEST + 1);
        let cases: [&[(&str, &str)]; 11] = [
            &[],
            &[(ENGINE_ID, "action")],
            &[(ENGINE_KEY, "k")],
            &[(ENGINE_ID, "action"), (ENGINE_ID, "sync"), (ENGINE_KEY, "k")],
            &[(ENGINE_ID, "action"), (ENGINE_KEY, "k"), (ENGINE_KEY, "k")],
            &[(ENGINE_ID, "action,sync"), (ENGINE_KEY, "k")],
            &[(ENGINE_ID, " action"), (ENGINE_KEY, "k")],
            &[(ENGINE_ID, ""), (ENGINE_KEY, "k")],
            &[(ENGINE_ID, "action"), (ENGINE_KEY, &long)],
            &[(ENGINE_ID, "actiön"), (ENGINE_KEY, "k")],
            &[(ENGINE_ID, "action"), (ENGINE_KEY, "k"), ("x-engine-key-bin", "az==")],
        ];
        for case in cases {
            let owned: Vec<(&'static str, &str)> = case
                .iter()
                .map(|(name, value)| {
                    let known = [ENGINE_ID, ENGINE_KEY, "x-engine-key-bin"];
                    (*known.iter().find(|known| *known == name).unwrap(), *value)
                })
                .collect();
            assert!(credentials(&headers(&owned)).is_none(), "{case:?}");
        }
    }
}
