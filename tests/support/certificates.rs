//! Certificates, made by openssl: authorities, and what they sign.

#![expect(clippy::unwrap_used, reason = "a test harness fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

/// Somebody who signs certificates.
pub(crate) struct Authority {
    folder: PathBuf,
    name: String,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// What a certificate says, and from when until when.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    /// In the words of openssl: `subjectAltName=URI:spiffe://a/b`.
    extensions: String,
    days: u32,
    /// As `faketime` takes it; empty: now.
    made: &'static str,
}

// === impl Wish ===

impl Wish {
    /// For a client with these alternative names; without any there is only a common name.
    pub(crate) fn client(names: &str) -> Self {
        let names = if names.is_empty() { String::new() } else { format!("subjectAltName={names}\n") };
        Self::with(&format!("{names}basicConstraints=critical,CA:FALSE\nextendedKeyUsage=clientAuth\n"))
    }

    /// For a server of this machine.
    pub(crate) fn server() -> Self {
        Self::with("subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")
    }

    /// With these extensions.
    pub(crate) fn with(extensions: &str) -> Self {
        Self { extensions: extensions.to_owned(), days: 2, made: "" }
    }

    /// Good for so many days.
    pub(crate) fn for_days(self, days: u32) -> Self {
        Self { days, ..self }
    }

    /// Made some time ago, or in some time.
    pub(crate) fn made(self, when: &'static str) -> Self {
        Self { made: when, ..self }
    }
}

// === impl Authority ===

impl Authority {
    /// A new one, whose files are in this folder.
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let authority = Self { folder: folder.to_owned(), name: name.to_owned() };
        let (key, certificate) = (format!("{name}.ca.key"), format!("{name}.ca.pem"));
        let subject = format!("/CN={name} authority");
        let made = ["req", "-x509", "-days", "30", "-subj", &subject, "-keyout", &key, "-out", &certificate];
        // Older than what it signs that was made some time ago.
        authority.openssl("20 days ago", &[&made[..], &KEY].concat());
        authority
    }

    /// Its own certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join(format!("{}.ca.pem", self.name))
    }

    /// Signs a certificate.
    pub(crate) fn sign(&self, name: &str, wish: &Wish) -> Identity {
        let name = format!("{}.{name}", self.name);
        let [key, request, certificate, extensions] =
            ["key", "csr", "pem", "ext"].map(|ending| format!("{name}.{ending}"));
        fs::write(self.folder.join(&extensions), &wish.extensions).unwrap();
        let subject = format!("/CN={name}");
        self.openssl("", &[&["req", "-new", "-subj", &subject, "-keyout", &key, "-out", &request][..], &KEY].concat());
        let (ca, ca_key) = (format!("{}.ca.pem", self.name), format!("{}.ca.key", self.name));
        let days = wish.days.to_string();
        let serial = ["-CAcreateserial", "-CAserial", &format!("{name}.srl")].map(str::to_owned);
        let signed = ["x509", "-req", "-days", &days, "-in", &request, "-CA", &ca, "-CAkey", &ca_key];
        let rest = ["-extfile", &extensions, "-out", &certificate];
        let serial: Vec<&str> = serial.iter().map(String::as_str).collect();
        self.openssl(wish.made, &[&signed[..], &serial, &rest].concat());
        Identity { certificate: self.folder.join(certificate), key: self.folder.join(key) }
    }

    fn openssl(&self, when: &str, arguments: &[&str]) {
        let mut command = if when.is_empty() {
            Command::new("openssl")
        } else {
            let mut command = Command::new("faketime");
            command.args(["-f", &offset(when), "openssl"]);
            command
        };
        let done = command.args(arguments).current_dir(&self.folder).output().unwrap();
        assert!(done.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

/// `3 days ago` and `in 3 days`, as `faketime -f` takes it.
fn offset(when: &str) -> String {
    let days = |text: &str| text.trim_end_matches(" days").parse::<u32>().unwrap();
    match (when.strip_suffix(" ago"), when.strip_prefix("in ")) {
        (Some(ago), _) => format!("-{}d", days(ago)),
        (None, Some(ahead)) => format!("+{}d", days(ahead)),
        (None, None) => panic!("`{when}`"),
    }
}
