//! `vault.v1.Admin` on the wire.

use std::sync::Arc;

use tonic::{Extensions, Request, Response, Status};

use super::admin_convert as convert;
use super::token_vault::{call, refuse};
use crate::access::admin::Command;
use crate::access::{Caller, Guard, Refusal};
use crate::pb::vault_v1::admin_server::Admin;
use crate::pb::vault_v1::{
    CheckAccessRequest, CheckAccessResponse, CreateEngineRequest, CreateKeyRequest, CreateKeyResponse,
    CreateTenantRequest, DeleteEngineRequest, DeleteEngineResponse, Engine, GetEngineRequest, GetTenantRequest, Key,
    ListEnginesRequest, ListEnginesResponse, ListKeysRequest, ListKeysResponse, ListTenantsRequest,
    ListTenantsResponse, RevokeKeyRequest, RotateKeyRequest, RotateKeyResponse, Tenant, UpdateEngineRequest,
    UpdateTenantRequest,
};

/// The service, in front of the guard.
pub(super) struct AdminApi {
    pub(super) guard: Arc<Guard>,
}

// === impl AdminApi ===

impl AdminApi {
    async fn ask<C: Command, R>(
        &self,
        mut extensions: Extensions,
        read: impl FnOnce(&Caller) -> Result<C, Refusal> + Send,
        tell: impl FnOnce(C::Answer) -> R + Send,
    ) -> Result<Response<R>, Status> {
        let (call, id) = call(&mut extensions)?;
        let answer = self.guard.administer(call, read).await;
        answer.map(tell).map(Response::new).map_err(|refusal| refuse(&id, &refusal))
    }
}

#[tonic::async_trait]
impl Admin for AdminApi {
    async fn create_tenant(&self, request: Request<CreateTenantRequest>) -> Result<Response<Tenant>, Status> {
        let (_, extensions, message) = request.into_parts();
        self.ask(extensions, |_| convert::create_tenant(message), convert::tenant).await
    }

    async fn get_tenant(&self, request: Request<GetTenantRequest>) -> Result<Response<Tenant>, Status> {
        let (_, extensions, message) = request.into_parts();
        self.ask(extensions, |_| convert::get_tenant(&message), convert::tenant).await
    }

    async fn list_tenants(
        &self,
        request: Request<ListTenantsRequest>,
    ) -> Result<Response<ListTenantsResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        self.ask(extensions, |_| convert::list_tenants(message), convert::listed_tenants).await
    }

    async fn update_tenant(&self, request: Request<UpdateTenantRequest>) -> Result<Response<Tenant>, Status> {
        let (_, extensions, message) = request.into_parts();
        self.ask(extensions, |_| convert::update_tenant(message), convert::tenant).await
    }

    async fn create_engine(&self, request: Request<CreateEngineRequest>) -> Result<Response<Engine>, Status> {
        let (_, extensions, message) = request.into_parts();
        self.ask(extensions, |_| convert::create_engine(message), convert::engine).await
    }

    async fn get_engine(&self, request: Request<GetEngineRequest>) -> Result<Response<Engine>, Status> {
        let (_, extensions, message) = request.into_parts();
        self.ask(extensions, |_| convert::get_engine(&message), convert::engine).await
    }

    async fn list_engines(
        &self,
        request: Request<ListEnginesRequest>,
    ) -> Result<Response<ListEnginesResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        self.ask(extensions, |_| convert::list_engines(message), convert::listed_engines).await
    }

    async fn update_engine(&self, request: Request<UpdateEngineRequest>) -> Result<Response<Engine>, Status> {
        let (_, extensions, message) = request.into_parts();
        self.ask(extensions, |_| convert::update_engine(message), convert::engine).await
    }

    async fn delete_engine(
        &self,
        request: Request<DeleteEngineRequest>,
    ) -> Result<Response<DeleteEngineResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        self.ask(extensions, |_| convert::delete_engine(message), |()| DeleteEngineResponse {}).await
    }

    async fn create_key(&self, request: Request<CreateKeyRequest>) -> Result<Response<CreateKeyResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        self.ask(extensions, |_| convert::create_key(&message), convert::created_key).await
    }

    async fn list_keys(&self, request: Request<ListKeysRequest>) -> Result<Response<ListKeysResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        self.ask(extensions, |_| convert::list_keys(&message), convert::listed_keys).await
    }

    async fn rotate_key(&self, request: Request<RotateKeyRequest>) -> Result<Response<RotateKeyResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        self.ask(extensions, |_| convert::rotate_key(&message), convert::rotated_key).await
    }

    async fn revoke_key(&self, request: Request<RevokeKeyRequest>) -> Result<Response<Key>, Status> {
        let (_, extensions, message) = request.into_parts();
        self.ask(extensions, |_| convert::revoke_key(&message), convert::key).await
    }

    async fn check_access(
        &self,
        request: Request<CheckAccessRequest>,
    ) -> Result<Response<CheckAccessResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        self.ask(extensions, |_| convert::check_access(message), convert::checked_access).await
    }
}
