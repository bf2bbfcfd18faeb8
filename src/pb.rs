//! Generated from `proto/`: the wire types of the API and of what is sealed. Nothing else may grow here.

/// The public API.
pub mod vault_v1 {
    #![expect(clippy::all, clippy::pedantic, clippy::allow_attributes, missing_docs, reason = "generated")]
    tonic::include_proto!("vault.v1");
}

/// What is inside a sealed record.
pub mod store_v1 {
    #![expect(missing_docs, reason = "generated")]
    tonic::include_proto!("vault.store.v1");
}

/// The descriptors of the public API, encoded: for reflection and for tests that walk every method.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vault.v1.fds"));

impl std::fmt::Debug for vault_v1::StoreTokenRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreTokenRequest").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for vault_v1::GetTokenResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GetTokenResponse").finish_non_exhaustive()
    }
}
