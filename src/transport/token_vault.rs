//! `vault.v1.TokenVault` on the wire.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tonic::{Extensions, Request, Response, Status};

use super::context::CallContext;
use super::credentials::Admitted;
use super::{convert, status};
use crate::access::{Call, Guard, Refusal};
use crate::domain::error::VaultError;
use crate::domain::id::RequestId;
use crate::pb::vault_v1::token_vault_server::TokenVault;
use crate::pb::vault_v1::{
    BatchGetStatusRequest, BatchGetStatusResponse, DeleteTokenRequest, DeleteTokenResponse, GetStatusRequest,
    GetStatusResponse, GetTokenRequest, GetTokenResponse, ListTokensRequest, ListTokensResponse, StoreTokenRequest,
    StoreTokenResponse, WatchStatusRequest, WatchStatusResponse,
};

/// The service, in front of the guard.
pub(super) struct TokenVaultApi {
    pub(super) guard: Arc<Guard>,
}

#[tonic::async_trait]
impl TokenVault for TokenVaultApi {
    async fn store_token(&self, request: Request<StoreTokenRequest>) -> Result<Response<StoreTokenResponse>, Status> {
        let (_, mut extensions, message) = request.into_parts();
        let (call, id) = call(&mut extensions)?;
        let answer = self.guard.store_token(call, |caller| convert::store_token(caller, message)).await;
        answer.map(convert::store_token_answer).map(Response::new).map_err(|refusal| refuse(&id, &refusal))
    }

    async fn get_token(&self, request: Request<GetTokenRequest>) -> Result<Response<GetTokenResponse>, Status> {
        let (_, mut extensions, message) = request.into_parts();
        let (call, id) = call(&mut extensions)?;
        let patience = call.patience();
        let read = |caller: &_| convert::get_token(caller, &message, id.clone(), patience);
        let answer = self.guard.get_token(call, read).await;
        answer.map(convert::get_token_answer).map(Response::new).map_err(|refusal| refuse(&id, &refusal))
    }

    async fn get_status(&self, request: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        let (_, mut extensions, message) = request.into_parts();
        let (call, id) = call(&mut extensions)?;
        let answer = self.guard.get_status(call, |caller| convert::get_status(caller, &message)).await;
        answer.map(convert::get_status_answer).map(Response::new).map_err(|refusal| refuse(&id, &refusal))
    }

    async fn batch_get_status(
        &self,
        request: Request<BatchGetStatusRequest>,
    ) -> Result<Response<BatchGetStatusResponse>, Status> {
        let (_, mut extensions, message) = request.into_parts();
        let (call, id) = call(&mut extensions)?;
        let answer = self.guard.batch_get_status(call, |caller| convert::batch_get_status(caller, &message)).await;
        answer.map(convert::batch_get_status_answer).map(Response::new).map_err(|refusal| refuse(&id, &refusal))
    }

    async fn list_tokens(&self, request: Request<ListTokensRequest>) -> Result<Response<ListTokensResponse>, Status> {
        let (_, mut extensions, message) = request.into_parts();
        let (call, id) = call(&mut extensions)?;
        let patience = call.patience();
        let read = |caller: &_| convert::list_tokens(caller, message, patience);
        let answer = self.guard.list_tokens(call, read).await;
        answer.map(convert::list_tokens_answer).map(Response::new).map_err(|refusal| refuse(&id, &refusal))
    }

    type WatchStatusStream = BoxStream<'static, Result<WatchStatusResponse, Status>>;

    async fn watch_status(
        &self,
        request: Request<WatchStatusRequest>,
    ) -> Result<Response<Self::WatchStatusStream>, Status> {
        let (_, mut extensions, message) = request.into_parts();
        let (call, id) = call(&mut extensions)?;
        let until = call.until();
        let opened = self.guard.watch_status(call, |caller| convert::watch_status(caller, message, until)).await;
        let watched = opened.map_err(|refusal| refuse(&id, &refusal))?;
        let messages = watched.map(move |message| match message {
            Ok(message) => Ok(convert::watch_message(message)),
            Err(refusal) => Err(refuse(&id, &refusal)),
        });
        Ok(Response::new(Box::pin(messages)))
    }

    async fn delete_token(
        &self,
        request: Request<DeleteTokenRequest>,
    ) -> Result<Response<DeleteTokenResponse>, Status> {
        let (_, mut extensions, message) = request.into_parts();
        let (call, id) = call(&mut extensions)?;
        let answer = self.guard.delete_token(call, |caller| convert::delete_token(caller, &message)).await;
        answer.map(convert::delete_token_answer).map(Response::new).map_err(|refusal| refuse(&id, &refusal))
    }
}

/// What the layers in front have put together. If any is missing the server is built wrong, and nothing passes.
pub(super) fn call(extensions: &mut Extensions) -> Result<(Call, RequestId), Status> {
    let admitted = extensions.remove::<Admitted>().and_then(|admitted| admitted.take());
    let context = extensions.remove::<CallContext>();
    match admitted.zip(context) {
        Some((call, context)) => Ok((call, context.request)),
        None => Err(status::of(&VaultError::Internal("the server is built without its layers").into())),
    }
}

/// The one place where a failed call is logged, with everything that led to it.
pub(super) fn refuse(id: &RequestId, refusal: &Refusal) -> Status {
    if let Refusal::Failed(error @ (VaultError::Store(_) | VaultError::Keys(_) | VaultError::Internal(_))) = refusal {
        tracing::error!(request_id = %id, reason = error.reason(), error = %Chain(error), "a call failed");
    }
    status::of(refusal)
}

/// An error and everything underneath it.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
