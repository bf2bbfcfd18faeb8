//! Gives a standard token request the shape that a platform's profile asks for. Does not send it.
//!
//! Not wiped: what the `oauth2` crate built the standard request from, and the header value of HTTP Basic.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use oauth2::HttpRequest;
use std::collections::BTreeMap;
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::outbound::{Outgoing, Unanswered};
use crate::domain::ports::TransportFault;
use crate::domain::profile::{BodyFormat, ClientAuth, Profile};
use crate::domain::secret::ClientSecret;

/// The client that asks.
#[derive(Clone, Copy)]
pub(super) struct Client<'a> {
    pub(super) id: &'a str,
    pub(super) secret: Option<&'a ClientSecret>,
}

/// The parameters of a request, in order.
struct Parameters(Vec<(String, Zeroizing<String>)>);

/// Header fields that frame a message. A profile that set one could make two requests out of one.
const FRAMING: [&str; 7] = ["host", "connection", "content-length", "transfer-encoding", "te", "upgrade", "expect"];

/// Shapes a refresh request.
pub(super) fn refresh(
    standard: HttpRequest,
    url: Url,
    profile: &Profile,
    client: Client<'_>,
) -> Result<Outgoing, Unanswered> {
    shape(standard, url, profile, client, profile.body, &profile.params.refresh).map_err(Unanswered::NotSent)
}

/// Shapes an introspection request: always a form (RFC 7662 section 2.1), and without the extra parameters, which are
/// those of other requests.
pub(super) fn introspection(
    standard: HttpRequest,
    url: Url,
    profile: &Profile,
    client: Client<'_>,
) -> Result<Outgoing, Unanswered> {
    shape(standard, url, profile, client, BodyFormat::Form, &BTreeMap::new()).map_err(Unanswered::NotSent)
}

fn shape(
    standard: HttpRequest,
    url: Url,
    profile: &Profile,
    client: Client<'_>,
    format: BodyFormat,
    extra: &BTreeMap<String, Option<String>>,
) -> Result<Outgoing, TransportFault> {
    let (head, body) = standard.into_parts();
    let mut headers = head.headers;
    let mut parameters = Parameters::read(&Zeroizing::new(body));
    match (profile.client_auth, client.secret) {
        (ClientAuth::BasicRaw, Some(secret)) => {
            parameters.remove("client_id");
            headers.insert(AUTHORIZATION, raw_basic(client.id, secret)?);
        }
        (ClientAuth::BasicRaw | ClientAuth::Basic | ClientAuth::Body | ClientAuth::None, _) => {
            if let Some(basic) = headers.get_mut(AUTHORIZATION) {
                basic.set_sensitive(true);
            }
        }
    }
    for (name, value) in extra {
        match value {
            Some(value) => parameters.set(name, value),
            None => parameters.remove(name),
        }
    }
    parameters.rename(&profile.rename);
    let (content_type, body) = match format {
        BodyFormat::Form => ("application/x-www-form-urlencoded", parameters.to_form()),
        BodyFormat::Json => ("application/json", parameters.to_json()?),
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    add_headers(&mut headers, &profile.headers)?;
    Ok(Outgoing { url, headers, body })
}

/// HTTP Basic with the id and the secret as they are, where RFC 6749 section 2.3.1 asks for their form-encoded shapes.
fn raw_basic(id: &str, secret: &ClientSecret) -> Result<HeaderValue, TransportFault> {
    let pair = Zeroizing::new(format!("{id}:{}", secret.expose()));
    let encoded = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&encoded).map_err(|_| TransportFault::Misconfigured)?;
    value.set_sensitive(true);
    Ok(value)
}

fn add_headers(headers: &mut HeaderMap, extra: &BTreeMap<String, String>) -> Result<(), TransportFault> {
    for (name, value) in extra {
        let name: HeaderName = name.parse().map_err(|_| TransportFault::Misconfigured)?;
        let value: HeaderValue = value.parse().map_err(|_| TransportFault::Misconfigured)?;
        if FRAMING.contains(&name.as_str()) {
            return Err(TransportFault::Misconfigured);
        }
        headers.insert(name, value);
    }
    Ok(())
}

// === impl Parameters ===

impl Parameters {
    fn read(form: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(form);
        Self(pairs.map(|(name, value)| (name.into_owned(), Zeroizing::new(value.into_owned()))).collect())
    }

    fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.0.push((name.to_owned(), Zeroizing::new(value.to_owned())));
    }

    fn rename(&mut self, names: &BTreeMap<String, String>) {
        for (name, _) in &mut self.0 {
            if let Some(theirs) = names.get(name) {
                name.clone_from(theirs);
            }
        }
    }

    fn to_form(&self) -> Zeroizing<Vec<u8>> {
        // Encoding makes three bytes of one at most; a buffer that grows would leave a copy of the secrets behind.
        let room = self.0.iter().map(|(name, value)| 3 * (name.len() + value.len()) + 2).sum();
        let mut form = form_urlencoded::Serializer::new(String::with_capacity(room));
        form.extend_pairs(self.0.iter().map(|(name, value)| (name, value.as_str())));
        Zeroizing::new(form.finish().into_bytes())
    }

    fn to_json(&self) -> Result<Zeroizing<Vec<u8>>, TransportFault> {
        let object: BTreeMap<&str, &str> = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        // Escaping makes six bytes of one at most.
        let room = self.0.iter().map(|(name, value)| 6 * (name.len() + value.len()) + 8).sum();
        let mut json = Zeroizing::new(Vec::with_capacity(room));
        serde_json::to_writer(&mut *json, &object).map_err(|_| TransportFault::Misconfigured)?;
        Ok(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_cannot_set_a_header_that_frames_the_message() {
        for name in ["Host", "content-length", "Transfer-Encoding", "a b", ""] {
            let extra = BTreeMap::from([(name.to_owned(), "1".to_owned())]);
            assert_eq!(add_headers(&mut HeaderMap::new(), &extra), Err(TransportFault::Misconfigured), "`{name}`");
        }
    }

    #[test]
    fn a_body_never_outgrows_the_room_it_was_given() {
        let hostile = "\u{1}\"\\&=%é ".repeat(100);
        let mut parameters = Parameters(Vec::new());
        parameters.set("refresh_token", &hostile);
        let room = "refresh_token".len() + hostile.len();
        assert!(parameters.to_form().len() <= 3 * room + 2);
        assert!(parameters.to_json().unwrap().len() <= 6 * room + 8);
    }
}
