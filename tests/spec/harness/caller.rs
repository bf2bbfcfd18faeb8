//! Somebody who calls the vault over gRPC, with whatever headers.

use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message as _;
use tokio::time::timeout;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Extensions, Request, Response, Status, Streaming};
use vault_engine::pb::vault_v1::{WatchStatusRequest, WatchStatusResponse};

use super::answers::{Refused, Witness, request_id};
use super::requests::{Ask, PATIENCE};

/// Somebody who calls.
#[derive(Clone)]
pub(crate) struct Caller {
    channel: Channel,
    headers: HeaderMap,
    witness: Arc<Witness>,
}

/// An answer as it came.
pub(crate) struct Answer {
    pub(crate) body: Bytes,
    pub(crate) request_id: String,
}

/// A stream of changes.
pub(crate) struct Watch {
    messages: Streaming<Bytes>,
    witness: Arc<Witness>,
}

/// Messages as bytes: what is sent and received is up to the test.
#[derive(Default)]
struct AsItIs;

// === impl Caller ===

impl Caller {
    /// Somebody without any headers.
    pub(super) fn new(channel: Channel, witness: Arc<Witness>) -> Self {
        Self { channel, headers: HeaderMap::new(), witness }
    }

    /// With one header more, also if there is one of this name already.
    pub(crate) fn and(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        let value = HeaderValue::from_bytes(value.as_ref()).unwrap();
        self.headers.append(HeaderName::from_static(name), value);
        self
    }

    /// Calls a method of the API.
    pub(crate) async fn call<M: Ask>(&self, message: M) -> Result<M::Answer, Refused> {
        let answer = self.send(M::PATH, message.encode_to_vec()).await?;
        Ok(M::Answer::decode(answer.body).unwrap())
    }

    /// Calls any path with any bytes.
    pub(crate) async fn send(&self, path: &str, message: Vec<u8>) -> Result<Answer, Refused> {
        if path == WatchStatusRequest::PATH {
            // Of a stream that never ends by itself the first message is the answer.
            let first = self.stream(path, message).await?.message().await.map_err(|status| self.refused(status))?;
            return Ok(Answer { body: first.unwrap(), request_id: String::new() });
        }
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let metadata = MetadataMap::from_headers(self.headers.clone());
        let request = Request::from_parts(metadata, Extensions::default(), Bytes::from(message));
        let path_and_query: PathAndQuery = path.parse().unwrap();
        match grpc.unary(request, path_and_query, AsItIs).await {
            Ok(response) => {
                let (metadata, body, _) = response.into_parts();
                self.witness.saw(path, &metadata, &body);
                Ok(Answer { body, request_id: request_id(&metadata) })
            }
            Err(status) => Err(self.refused(status)),
        }
    }

    /// Opens a stream.
    pub(crate) async fn watch(&self, message: WatchStatusRequest) -> Result<Watch, Refused> {
        let messages = self.stream(WatchStatusRequest::PATH, message.encode_to_vec()).await?;
        Ok(Watch { messages, witness: Arc::clone(&self.witness) })
    }

    /// Over a connection on which little may be under way to a caller that does not read.
    pub(crate) async fn reading_little(mut self, url: String) -> Self {
        let endpoint = Endpoint::from_shared(url).unwrap();
        let endpoint = endpoint.initial_stream_window_size(1_024).initial_connection_window_size(65_535);
        self.channel = endpoint.connect().await.unwrap();
        self
    }

    async fn stream(&self, path: &str, message: Vec<u8>) -> Result<Streaming<Bytes>, Refused> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let metadata = MetadataMap::from_headers(self.headers.clone());
        let request = Request::from_parts(metadata, Extensions::default(), Bytes::from(message));
        let opened = grpc.server_streaming(request, path.parse().unwrap(), AsItIs).await;
        opened.map(Response::into_inner).map_err(|status| self.refused(status))
    }

    fn refused(&self, status: Status) -> Refused {
        self.witness.was_refused(&status);
        status.into()
    }

    /// The connection itself, for services that are not the vault's own.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }
}

// === impl Watch ===

impl Watch {
    /// The next message, or how it ended: `None` if well.
    pub(crate) async fn next(&mut self) -> Option<Result<WatchStatusResponse, Refused>> {
        match timeout(PATIENCE, self.messages.message()).await.expect("the stream is silent") {
            Ok(Some(message)) => {
                self.witness.saw(WatchStatusRequest::PATH, &MetadataMap::new(), &message);
                Some(Ok(WatchStatusResponse::decode(message).unwrap()))
            }
            Ok(None) => None,
            Err(status) => {
                self.witness.was_refused(&status);
                Some(Err(status.into()))
            }
        }
    }
}

// === impl AsItIs ===

impl Codec for AsItIs {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for AsItIs {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for AsItIs {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
