//! An export comes back as it went in, or not at all.

use super::*;
use crate::domain::id::{ConnectionKey, TenantId};
use crate::domain::ports::{Address, Partition, StateHint, Version};

fn head() -> ExportHead {
    let epoch = Stored { version: Version(3), value: Bytes::from_static(b"sealed epoch") };
    let created = Timestamp::from_unix_millis(1_800_000_000_123);
    ExportHead { environment: "prod".parse().unwrap(), created, epoch: Some(epoch) }
}

fn items() -> Vec<Item> {
    let (tenant, user): (TenantId, _) = ("acme".parse().unwrap(), "u1".parse().unwrap());
    let key = ConnectionKey { tenant: tenant.clone(), user, platform: "gmail".parse().unwrap() };
    let user_key = Address::UserKey { tenant: tenant.clone(), user: key.user.clone(), generation: 1 };
    let hints = Hints {
        state: StateHint::Alive,
        expires_at: Some(Timestamp::from_unix_seconds(1_900_000_000)),
        due_at: Some(Timestamp::from_unix_seconds(1_899_999_000)),
    };
    let item = |address, version, value: &'static [u8], hints| Item {
        address,
        stored: Stored { version: Version(version), value: Bytes::from_static(value) },
        hints,
    };
    vec![
        item(Address::TenantKeyring { tenant: TenantId::system() }, 1, b"keys", Hints::default()),
        item(Address::TenantKeyring { tenant }, 1, b"more keys", Hints::default()),
        item(user_key, 1, b"key", Hints::default()),
        item(Address::Connection(key), 7, b"sealed", hints),
    ]
}

fn export() -> Vec<u8> {
    let mut writer = ExportWriter::begin(Vec::new(), &head()).unwrap();
    for item in items() {
        writer.add(&item).unwrap();
    }
    writer.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<(ExportHead, Vec<Item>), ExportError> {
    let mut reader = ExportReader::open(bytes)?;
    let mut items = Vec::new();
    while let Some(item) = reader.next_record()? {
        items.push(item);
    }
    Ok((reader.head().clone(), items))
}

#[test]
fn everything_comes_back_as_it_went_in() {
    assert_eq!(read(&export()).unwrap(), (head(), items()));
    let empty = ExportHead { epoch: None, ..head() };
    let bytes = ExportWriter::begin(Vec::new(), &empty).unwrap().finish().unwrap();
    assert_eq!(read(&bytes).unwrap(), (empty, Vec::new()));
}

#[test]
fn the_format_is_what_it_says() {
    let mut writer = ExportWriter::begin(Vec::new(), &ExportHead { epoch: None, ..head() }).unwrap();
    writer.add(&items()[0]).unwrap();
    let bytes = writer.finish().unwrap();
    let head = [b"TVEXPORT\x01".as_slice(), &1_800_000_000_123_u64.to_be_bytes(), b"\x04prod\x00\x00"].concat();
    let frame = [&[2][..], &1_u64.to_be_bytes(), &[0; 11], b"keys"].concat();
    let body = [b"\x00\x06system\x00\x08#keyring".as_slice(), &frame].concat();
    let record = [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat();
    let unsigned = [head, record, [0; 4].to_vec(), 1_u64.to_be_bytes().to_vec()].concat();
    let whole = [unsigned.clone(), Sha256::digest(&unsigned).to_vec()].concat();
    assert_eq!(bytes, whole);
}

#[test]
fn an_export_cut_short_anywhere_is_refused() {
    let whole = export();
    for length in 0..whole.len() {
        let refused = read(&whole[..length]).unwrap_err();
        let fits =
            matches!(refused, ExportError::Truncated) || length < 8 && matches!(refused, ExportError::NotAnExport);
        assert!(fits, "{length}: {refused}");
    }
}

#[test]
fn an_export_altered_anywhere_is_refused() {
    let whole = export();
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut altered = whole.clone();
            altered[at] ^= 1 << bit;
            assert!(read(&altered).is_err(), "bit {bit} of byte {at}");
        }
    }
    let longer = [whole, vec![0]].concat();
    assert!(matches!(read(&longer), Err(ExportError::Altered(_))));
}

#[test]
fn a_length_that_lies_takes_no_memory() {
    let mut bytes = ExportWriter::begin(Vec::new(), &head()).unwrap().finish().unwrap();
    bytes.truncate(bytes.len() - 44);
    bytes.extend_from_slice(&u32::MAX.to_be_bytes());
    assert!(matches!(read(&bytes), Err(ExportError::Altered("a record is longer than any"))));
}

#[test]
fn what_belongs_to_where_it_is_kept_is_not_exported() {
    let mut writer = ExportWriter::begin(Vec::new(), &head()).unwrap();
    for address in [Address::Epoch, Address::Lease { partition: Partition::numbered(3).unwrap() }] {
        assert!(matches!(writer.add(&Item { address, ..items()[0].clone() }), Err(ExportError::Record)));
    }
}

#[test]
fn a_later_format_is_told_from_damage() {
    let mut bytes = export();
    bytes[8] = 2;
    let refused = read(&bytes).unwrap_err();
    assert_eq!(refused.to_string(), "it has format 2, and this version knows format 1: use the version that made it");
}
