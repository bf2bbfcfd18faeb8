//! The file a vault is backed up in: every record under the name and in the frame it has in every store.
//!
//! ```text
//! file    = head || record* || trailer
//! head    = "TVEXPORT" || format || created || LP8(environment) || LP16(epoch frame)    u8 = 1, u64 BE Unix milliseconds
//! record  = length || LP16(drawer) || LP16(field) || frame                              u32 BE > 0, of what follows
//! trailer = 0 || records || SHA-256 of everything before the SHA-256                    u32, u64 BE, 32 bytes
//! ```
//!
//! `LPn(x)` is the length of x in n bits, big end first, and x. The checksum is against accidents. Against people there is
//! the seal of each record.

use std::io::{self, Read, Write};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::frame;
use super::place::Place;
use crate::domain::id::Environment;
use crate::domain::ports::{Hints, Item, MAX_VALUE_BYTES, Record, Stored};
use crate::domain::time::Timestamp;

/// What an export says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportHead {
    /// The installation its records are bound to.
    pub environment: Environment,
    /// When it was begun.
    pub created: Timestamp,
    /// The sealed epoch of the store, if it was ever set back.
    pub epoch: Option<Stored>,
}

/// Why a file is no export, or not a whole one.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It begins otherwise.
    #[error("it is not an export of a vault")]
    NotAnExport,
    /// It was made by a later version.
    #[error("it has format {0}, and this version knows format {FORMAT}: use the version that made it")]
    Format(u8),
    /// It ends early.
    #[error("it is not whole: it ends early")]
    Truncated,
    /// It is not as it was made.
    #[error("it was altered or damaged: {0}")]
    Altered(&'static str),
    /// It cannot be read or written.
    #[error("it cannot be read or written")]
    Io(#[source] io::Error),
    /// A record has no place in an export.
    #[error("a record cannot be exported")]
    Record,
}

/// Writes an export.
pub struct ExportWriter<W> {
    out: W,
    hash: Sha256,
    records: u64,
}

/// Reads an export.
pub struct ExportReader<R> {
    input: R,
    hash: Sha256,
    head: ExportHead,
    records: u64,
    bytes: u64,
    done: bool,
}

const MAGIC: &[u8; 8] = b"TVEXPORT";
const FORMAT: u8 = 1;

/// More than any record has: names of less than 300 bytes, a frame, a value.
const MAX_RECORD_BYTES: usize = MAX_VALUE_BYTES + frame::HEADER_BYTES + 1_024;

// === impl ExportWriter ===

impl<W: Write> ExportWriter<W> {
    /// Begins an export.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn begin(out: W, head: &ExportHead) -> Result<Self, ExportError> {
        let mut writer = Self { out, hash: Sha256::new(), records: 0 };
        let mut bytes = MAGIC.to_vec();
        bytes.push(FORMAT);
        bytes.extend_from_slice(&u64::try_from(head.created.unix_millis()).unwrap_or(0).to_be_bytes());
        let environment = head.environment.as_str();
        bytes.push(u8::try_from(environment.len()).map_err(|_| ExportError::Record)?);
        bytes.extend_from_slice(environment.as_bytes());
        let epoch = head.epoch.as_ref().map(|stored| framed(stored, Hints::default())).transpose()?;
        with_length(&mut bytes, &epoch.unwrap_or_default())?;
        writer.write(&bytes)?;
        Ok(writer)
    }

    /// Adds a record.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn add(&mut self, item: &Item) -> Result<(), ExportError> {
        let place = Place::from(&item.address);
        if place.address().is_none() {
            return Err(ExportError::Record);
        }
        let mut body = Vec::with_capacity(item.stored.value.len() + 128);
        with_length(&mut body, place.drawer.as_bytes())?;
        with_length(&mut body, place.field.as_bytes())?;
        body.extend_from_slice(&framed(&item.stored, item.hints)?);
        self.write(&u32::try_from(body.len()).map_err(|_| ExportError::Record)?.to_be_bytes())?;
        self.write(&body)?;
        self.records += 1;
        Ok(())
    }

    /// How many records there are so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Ends the export; hands back where it was written to.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<W, ExportError> {
        let records = self.records;
        self.write(&0_u32.to_be_bytes())?;
        self.write(&records.to_be_bytes())?;
        self.out.write_all(&self.hash.finalize()).map_err(ExportError::Io)?;
        self.out.flush().map_err(ExportError::Io)?;
        Ok(self.out)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        self.hash.update(bytes);
        self.out.write_all(bytes).map_err(ExportError::Io)
    }
}

// === impl ExportReader ===

impl<R: Read> ExportReader<R> {
    /// Begins to read, as far as what the export says about itself.
    ///
    /// # Errors
    ///
    /// As [`ExportError`] says.
    pub fn open(mut input: R) -> Result<Self, ExportError> {
        let mut hash = Sha256::new();
        let mut counted = Counted { input: &mut input, hash: &mut hash, bytes: 0 };
        let magic: [u8; 8] = counted.array().map_err(|error| match error {
            ExportError::Truncated => ExportError::NotAnExport,
            error => error,
        })?;
        if magic != *MAGIC {
            return Err(ExportError::NotAnExport);
        }
        let [format] = counted.array()?;
        if format != FORMAT {
            return Err(ExportError::Format(format));
        }
        let created = u64::from_be_bytes(counted.array()?);
        let [length] = counted.array()?;
        let environment = counted.exactly(usize::from(length))?;
        let environment = str::from_utf8(&environment).ok().and_then(|text| text.parse().ok());
        let length = u16::from_be_bytes(counted.array()?);
        let epoch = counted.exactly(usize::from(length))?;
        let epoch = if epoch.is_empty() { None } else { Some(frame::decode(Bytes::from(epoch)).map_err(|_| HEAD)?) };
        let created = Timestamp::from_unix_millis(i64::try_from(created).map_err(|_| HEAD)?);
        let head = ExportHead { environment: environment.ok_or(HEAD)?, created, epoch };
        let bytes = counted.bytes;
        Ok(Self { input, hash, head, records: 0, bytes, done: false })
    }

    /// What it says about itself.
    pub fn head(&self) -> &ExportHead {
        &self.head
    }

    /// How many bytes were read.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next record; `None`: that was all, and the export is whole and as it was made.
    ///
    /// # Errors
    ///
    /// As [`ExportError`] says.
    pub fn next_record(&mut self) -> Result<Option<Item>, ExportError> {
        if self.done {
            return Ok(None);
        }
        let mut counted = Counted { input: &mut self.input, hash: &mut self.hash, bytes: self.bytes };
        let length = u32::from_be_bytes(counted.array()?);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MAX_RECORD_BYTES {
            return Err(ExportError::Altered("a record is longer than any"));
        }
        if length > 0 {
            let body = counted.exactly(length)?;
            self.bytes = counted.bytes;
            self.records += 1;
            return item(Bytes::from(body)).map(Some).ok_or(ExportError::Altered("a record is not one"));
        }
        let records = u64::from_be_bytes(counted.array()?);
        let made: [u8; 32] = self.hash.clone().finalize().into();
        let mut counted = Counted { input: &mut self.input, hash: &mut self.hash, bytes: self.bytes };
        let stated: [u8; 32] = counted.array()?;
        if made != stated || records != self.records {
            return Err(ExportError::Altered("its checksum is another"));
        }
        if !matches!(self.input.read(&mut [0]), Ok(0)) {
            return Err(ExportError::Altered("something follows its end"));
        }
        self.done = true;
        Ok(None)
    }
}

const HEAD: ExportError = ExportError::Altered("its head cannot be read");

/// Reading, with everything that is read counted and hashed.
struct Counted<'a, R> {
    input: &'a mut R,
    hash: &'a mut Sha256,
    bytes: u64,
}

// === impl Counted ===

impl<R: Read> Counted<'_, R> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], ExportError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// The length is checked before.
    fn exactly(&mut self, length: usize) -> Result<Vec<u8>, ExportError> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ExportError> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ExportError::Truncated,
            _ => ExportError::Io(error),
        })?;
        self.hash.update(&*bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

fn item(mut body: Bytes) -> Option<Item> {
    let (drawer, field) = (text(&mut body)?, text(&mut body)?);
    let (stored, hints) = frame::decode_whole(body).ok()?;
    Some(Item { address: Place { drawer, field }.address()?, stored, hints })
}

fn text(body: &mut Bytes) -> Option<String> {
    let (length, _) = body.split_first_chunk::<2>()?;
    let end = 2 + usize::from(u16::from_be_bytes(*length));
    if body.len() < end {
        return None;
    }
    let text = body.split_to(end);
    str::from_utf8(text.get(2..)?).ok().map(str::to_owned)
}

fn framed(stored: &Stored, hints: Hints) -> Result<Vec<u8>, ExportError> {
    frame::encode(stored.version, &Record { value: stored.value.clone(), hints }).map_err(|_| ExportError::Record)
}

fn with_length(bytes: &mut Vec<u8>, part: &[u8]) -> Result<(), ExportError> {
    bytes.extend_from_slice(&u16::try_from(part.len()).map_err(|_| ExportError::Record)?.to_be_bytes());
    bytes.extend_from_slice(part);
    Ok(())
}

#[cfg(test)]
mod tests;
