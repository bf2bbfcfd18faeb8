//! Generated from `proto/`: the wire types of the API and of what is sealed. Nothing else may grow here.

use std::marker::PhantomData;

use tonic::codec::BufferSettings;
use tonic_prost::{ProstDecoder, ProstEncoder};

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

/// Protobuf, in buffers of the size our messages have.
///
/// tonic begins with 8 KiB for each request and each answer. Taking so much from the allocator and giving it back is
/// among the larger costs of a call; a token fits into less, and what does not grows its buffer.
#[derive(Debug, Clone)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

/// Bytes a buffer begins with, and bytes after which a stream would pause to send: tonic's own choice.
const BUFFERS: (usize, usize) = (512, 32 * 1_024);

// === impl Codec ===

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: prost::Message + 'static,
    U: prost::Message + Default + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstEncoder::new(BufferSettings::new(BUFFERS.0, BUFFERS.1))
    }

    fn decoder(&mut self) -> ProstDecoder<U> {
        ProstDecoder::new(BufferSettings::new(BUFFERS.0, BUFFERS.1))
    }
}

impl std::fmt::Debug for vault_v1::StoreTokenRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreTokenRequest").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for vault_v1::CreateKeyResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreateKeyResponse").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for vault_v1::RotateKeyResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RotateKeyResponse").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for vault_v1::GetTokenResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GetTokenResponse").finish_non_exhaustive()
    }
}
