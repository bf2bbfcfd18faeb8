//! The Vault Engine keeps users' OAuth tokens and is the only one that ever sees a refresh token.
//!
//! ```text
//!  client ──► transport ──► access (guard) ──► service ──► domain ◄── adapters
//!             gRPC           who, may they,     use cases   values,     store, keys,
//!             wire ⇄ domain  audit              + envelope  rules,      oauth, profiles,
//!                                               + refresher ports       audit
//!  main ──► cli ──► app (the only place that names concrete adapters)
//! ```
//!
//! To read it: [`domain`] first (what a connection is and what may happen to it), then [`envelope`] (how it is sealed),
//! [`refresher`] (how a grant is never lost), [`access`] (who may), and last [`transport`] and the adapters.

pub mod access;
pub mod adapters;
pub mod app;
pub mod cli;
pub mod config;
pub mod document;
pub mod domain;
pub mod envelope;
pub mod hardening;
pub mod lifecycle;
pub mod pb;
pub mod refresher;
pub mod runtime;
pub mod service;
pub mod telemetry;
pub mod transport;
