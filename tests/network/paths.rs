//! Paths and headers no library would send. Whatever they are, no method is entered: there is nothing of the vault in the
//! answer, and nothing in the trail that was let through.

use std::fs;

use prost::Message as _;
use serde_json::Value;
use tempfile::TempDir;
use vault_engine::pb::vault_v1::GetTokenRequest;

use crate::eventually::eventually;
use crate::frames::{Outcome, Raw, fields};
use crate::installation::{ENGINE, Installation};
use crate::process::Running;

const GET: &str = "/vault.v1.TokenVault/GetToken";
const ACCESS: &str = "the-token-that-must-not-be-seen";

/// A vault with one token in it.
struct House {
    vault: Running,
    installation: Installation,
    address: String,
    _folder: TempDir,
}

// === impl House ===

impl House {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let installation = Installation::over_a_file(None, "").await;
        let (vault, server) = installation.command("a").serving().await;
        let caller = installation.caller(&server).on("gmail");
        let in_an_hour = 4_000_000_000;
        caller.try_store("ada", ACCESS, "refresh", in_an_hour).await.unwrap();
        let address = server.trim_start_matches("http://").to_owned();
        Self { vault, installation, address, _folder: folder }
    }

    fn good(&self) -> [(Vec<u8>, Vec<u8>); 2] {
        let key = self.installation.key().as_bytes().to_vec();
        [(b"x-engine-id".to_vec(), ENGINE.into()), (b"x-engine-key".to_vec(), key)]
    }

    /// Calls on a connection of its own.
    async fn call(&self, block: &[(Vec<u8>, Vec<u8>)]) -> Outcome {
        let message = GetTokenRequest { user_id: "ada".into(), platform: "gmail".into(), ..GetTokenRequest::default() };
        Raw::connect(&self.address).await.call(1, &fields(block), &message.encode_to_vec()).await
    }

    /// What was let through so far: lines of the trail that say `ok`.
    fn let_through(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.installation.data_dir("a").join("audit.jsonl")).unwrap();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["result"] == "ok" && line["action"] == "get").collect()
    }

    /// Nothing was let through, nothing was shown, and it still serves.
    async fn assert_closed(&self, outcomes: &[(String, Outcome)]) {
        for (what, outcome) in outcomes {
            if let Outcome::Answer { fields, body } = outcome {
                let status = fields.iter().find(|(name, _)| name == "grpc-status").map(|(_, value)| value.as_str());
                assert_ne!(status, Some("0"), "{what}");
                assert!(!String::from_utf8_lossy(body).contains(ACCESS), "{what}");
            }
        }
        assert_eq!(self.let_through(), Vec::<Value>::new());
        let got = self.call(&call_of(GET.as_bytes(), &self.good())).await;
        let Outcome::Answer { body, .. } = got else { panic!("it does not serve any more: {got:?}") };
        assert!(String::from_utf8_lossy(&body).contains(ACCESS));
        eventually("the call that is right is written down", async || (self.let_through().len() == 1).then_some(()))
            .await;
        assert!(!self.vault.stderr().contains("panicked"), "{}", self.vault.stderr());
    }
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// The fields of a call to this path with these credentials.
fn call_of(path: &[u8], credentials: &[(Vec<u8>, Vec<u8>)]) -> Fields {
    let mut block: Fields = [(":method", "POST"), (":scheme", "http")].map(bytes).to_vec();
    block.push((b":path".to_vec(), path.to_vec()));
    block.extend([(":authority", "vault"), ("content-type", "application/grpc"), ("te", "trailers")].map(bytes));
    block.extend_from_slice(credentials);
    block
}

fn bytes((name, value): (&str, &str)) -> (Vec<u8>, Vec<u8>) {
    (name.into(), value.into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_path_but_the_method_s_own_enters_it() {
    let house = House::new().await;
    let paths: [&[u8]; 28] = [
        b"vault.v1.TokenVault/GetToken",
        b"//vault.v1.TokenVault/GetToken",
        b"/vault.v1.TokenVault//GetToken",
        b"/vault.v1.TokenVault/GetToken/",
        b"/vault.v1.TokenVault/GetToken//",
        b"/vault.v1.TokenVault%2fGetToken",
        b"/vault.v1.TokenVault/%47etToken",
        b"%2fvault.v1.TokenVault/GetToken",
        b"/vault.v1.tokenvault/GetToken",
        b"/vault.v1.TokenVault/gettoken",
        b"/VAULT.V1.TOKENVAULT/GETTOKEN",
        b"/./vault.v1.TokenVault/GetToken",
        b"/x/../vault.v1.TokenVault/GetToken",
        b"/vault.v1.TokenVault/./GetToken",
        b"/vault.v1.TokenVault/GetToken;x=y",
        b"/vault.v1.TokenVault/GetToken?",
        b"/vault.v1.TokenVault/GetToken?x=y",
        b"/vault.v1.TokenVault/GetToken\0",
        b"/vault.v1.TokenVault/Get\0Token",
        b"/vault.v1.TokenVault/GetToken ",
        b" /vault.v1.TokenVault/GetToken",
        b"/vault.v1.TokenVault/GetToken\r\n",
        b"/vault.v1.TokenVault\\GetToken",
        b"/vault.v1.TokenVault/GetT\xd0\xbeken",
        b"/\xff\xfe",
        b"*",
        b"",
        b"/grpc.health.v1.Health/../vault.v1.TokenVault/GetToken",
    ];
    let mut outcomes = Vec::new();
    for path in paths {
        let what = String::from_utf8_lossy(path).into_owned();
        outcomes.push((what, house.call(&call_of(path, &house.good())).await));
    }
    house.assert_closed(&outcomes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_behind_a_hash_is_no_part_of_a_path_and_opens_no_door() {
    let house = House::new().await;
    let path = b"/vault.v1.TokenVault/GetToken#/grpc.health.v1.Health/Check";
    let Outcome::Answer { fields, body } = house.call(&call_of(path, &[])).await else { panic!("no answer") };
    assert!(fields.contains(&("grpc-status".to_owned(), "16".to_owned())), "{fields:?}");
    house.assert_closed(&[("a fragment".to_owned(), Outcome::Answer { fields, body })]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_two_things_at_once() {
    let house = House::new().await;
    let right = || call_of(GET.as_bytes(), &house.good());
    let with = |name: &str, value: &str| [right(), vec![bytes((name, value))]].concat();
    let without = |name: &str| right().into_iter().filter(|(field, _)| field != name.as_bytes()).collect::<Fields>();
    let mut two_paths = right();
    two_paths.insert(3, bytes((":path", "/grpc.health.v1.Health/Check")));
    let mut other_path_first = right();
    other_path_first.insert(2, bytes((":path", "/grpc.health.v1.Health/Check")));
    let blocks = [
        ("two paths", two_paths),
        ("two paths, the other one first", other_path_first),
        ("a path behind the fields", with(":path", GET)),
        ("a second path behind the fields", with(":path", "/grpc.health.v1.Health/Check")),
        ("two methods", with(":method", "GET")),
        ("a pseudo-header that is none", with(":engine", ENGINE)),
        ("a status in a request", with(":status", "200")),
        ("no path", without(":path")),
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
        ("a name in capitals", with("X-Engine-Id", ENGINE)),
        ("a name with a blank", with("x engine id", ENGINE)),
        ("a name with a line break", with("x-engine-id\r\nx", ENGINE)),
        ("an empty name", with("", ENGINE)),
        ("a value with a line break", with("x-request-id", "a\r\nx-engine-id: b")),
        ("a value with a NUL", with("x-request-id", "a\0b")),
        ("a connection header", with("connection", "x-engine-id")),
        ("a transfer encoding", with("transfer-encoding", "chunked")),
        ("another te", [without("te"), vec![bytes(("te", "gzip"))]].concat()),
        ("a length that is wrong", with("content-length", "1")),
        ("two lengths", [with("content-length", "13"), vec![bytes(("content-length", "14"))]].concat()),
    ];
    let mut outcomes = Vec::new();
    for (what, block) in blocks {
        outcomes.push((what.to_owned(), house.call(&block).await));
    }
    house.assert_closed(&outcomes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_are_nobody_are_told_the_same_to_the_byte() {
    let house = House::new().await;
    let [id, key] = house.good();
    let of = |credentials: &[&(Vec<u8>, Vec<u8>)]| {
        call_of(GET.as_bytes(), &credentials.iter().map(|field| (*field).clone()).collect::<Fields>())
    };
    let named = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
    let joined = [&key.1[..], b",", &key.1].concat();
    let blank = [b" ", &key.1[..]].concat();
    let blocks = [
        ("none", of(&[])),
        ("no key", of(&[&id])),
        ("no id", of(&[&key])),
        ("an empty id", of(&[&named("x-engine-id", b""), &key])),
        ("an empty key", of(&[&id, &named("x-engine-key", b"")])),
        ("the id twice", of(&[&id, &id, &key])),
        ("the key twice", of(&[&id, &key, &key])),
        ("a binary key", of(&[&id, &named("x-engine-key-bin", b"AAAA")])),
        ("a binary key beside", of(&[&id, &key, &named("x-engine-key-bin", b"AAAA")])),
        ("a binary id beside", of(&[&id, &key, &named("x-engine-id-bin", b"AAAA")])),
        ("a key that is no text", of(&[&id, &named("x-engine-key", b"\xff\xfe\x80")])),
        ("an id of another alphabet", of(&[&named("x-engine-id", "tеster".as_bytes()), &key])),
        ("two keys in one", of(&[&id, &named("x-engine-key", &joined)])),
        ("a blank before the key", of(&[&id, &named("x-engine-key", &blank)])),
        ("a tab behind the id", of(&[&named("x-engine-id", b"tester\t"), &key])),
        ("the key of A, the id of B", of(&[&named("x-engine-id", b"another"), &key])),
        ("the id as the key", of(&[&id, &named("x-engine-key", b"tester")])),
        ("12 KiB of key", of(&[&id, &named("x-engine-key", &[b'k'; 12_288])])),
    ];
    let mut first: Option<Outcome> = None;
    for (what, block) in blocks {
        let Outcome::Answer { mut fields, body } = house.call(&block).await else { panic!("{what}: no answer") };
        // Each call has its own id and its own moment; everything else is the same.
        fields.retain(|(name, _)| name != "x-request-id" && name != "date");
        let told = Outcome::Answer { fields, body };
        match &first {
            None => {
                let Outcome::Answer { fields, .. } = &told else { unreachable!() };
                assert!(fields.contains(&("grpc-status".to_owned(), "16".to_owned())), "{fields:?}");
                first = Some(told);
            }
            Some(first) => assert_eq!(told, *first, "{what}"),
        }
    }
    house.assert_closed(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mebibyte_of_credentials_is_not_taken_in() {
    let house = House::new().await;
    let [id, key] = house.good();
    let huge = |name: &str| (name.as_bytes().to_vec(), vec![b'k'; 1_048_576]);
    let mut outcomes = Vec::new();
    for credentials in [vec![id.clone(), huge("x-engine-key")], vec![huge("x-engine-id"), key.clone()]] {
        let outcome = house.call(&call_of(GET.as_bytes(), &credentials)).await;
        if let Outcome::Answer { fields, .. } = &outcome {
            assert!(!fields.iter().any(|(name, _)| name == "grpc-status"), "{fields:?}");
        }
        outcomes.push(("a mebibyte".to_owned(), outcome));
    }
    house.assert_closed(&outcomes).await;
}
