//! Certificates are replaced on the disk: connections that are open stay, new ones begin with the new certificate, and a
//! change for the worse changes nothing.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tonic::Code;

use crate::caller::Caller;
use crate::certificates::{Authority, Wish};
use crate::eventually::eventually;
use crate::house::{House, Pki, WORKLOAD, was_turned_away};

const READ_AGAIN: &str = "certificates were read again: new connections begin with them";
const REFUSED: &str = "certificates changed and cannot be used: those from before stay";

/// Somebody who calls all the time, on one connection or each time on a new one.
struct Crowd {
    answers: AtomicUsize,
    go_home: AtomicBool,
}

// === impl Crowd ===

impl Crowd {
    async fn call(&self, caller: impl Fn() -> Caller) {
        while !self.go_home.load(Ordering::Relaxed) {
            let answer = caller().get("ada").await.unwrap_err();
            assert_eq!(answer.code(), Code::NotFound, "{answer:?}");
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn call_on(&self) {
        let before = self.answers.load(Ordering::Relaxed);
        eventually("calls are answered", async || (self.answers.load(Ordering::Relaxed) > before + 20).then_some(()))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_under_load_fails_no_call() {
    let house = Arc::new(House::with(Pki::new(), "", &[]).await);
    let crowd = Arc::new(Crowd { answers: AtomicUsize::default(), go_home: AtomicBool::default() });
    let callers: Vec<_> = (0..4)
        .map(|number| {
            let (house, crowd) = (Arc::clone(&house), Arc::clone(&crowd));
            let kept = house.caller(None);
            tokio::spawn(async move {
                crowd.call(|| if number % 2 == 0 { kept.clone() } else { house.caller(None) }).await;
            })
        })
        .collect();
    crowd.call_on().await;

    for number in 1..=3 {
        house.pki.install(&house.pki.servers.sign(&format!("vault-{number}"), &Wish::server()));
        eventually("it is read", async || (house.vault.stderr().matches(READ_AGAIN).count() == number).then_some(()))
            .await;
        crowd.call_on().await;
    }

    crowd.go_home.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_connections_stay_while_new_ones_see_the_new_certificate() {
    let house = House::with(Pki::new(), "", &[]).await;
    let before = house.caller(None);
    assert_eq!(before.get("ada").await.unwrap_err().code(), Code::NotFound);

    let others = tempfile::tempdir().unwrap();
    let another = Authority::new(others.path(), "another");
    house.pki.install(&another.sign("vault", &Wish::server()));

    let turned = async || {
        let refused = house.caller(None).get("ada").await.unwrap_err();
        was_turned_away(&refused).then_some(())
    };
    eventually("new connections see a certificate of somebody else", turned).await;
    assert_eq!(before.get("ada").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_that_does_not_belong_together_is_told_of_once_and_not_used() {
    let house = House::with(Pki::new(), "", &[]).await;
    let mounted = house.pki.mounted();
    let other = house.pki.servers.sign("other", &Wish::server());
    fs::copy(&other.key, mounted.join("tls.key")).unwrap();

    let told = eventually("it is told", async || house.vault.logged(REFUSED)).await;
    assert_eq!(told["alarm"], "certificate_refused");
    assert!(told["error"].as_str().unwrap().contains("tls.key_file"), "{told}");
    assert_eq!(house.caller(None).get("ada").await.unwrap_err().code(), Code::NotFound);

    // The other half arrives.
    fs::copy(&other.certificate, mounted.join("tls.crt")).unwrap();
    eventually("it is read", async || house.vault.logged(READ_AGAIN)).await;
    assert_eq!(house.caller(None).get("ada").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(house.vault.stderr().matches(REFUSED).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_certificate_or_open_to_others_or_expired_or_gone_is_not_used() {
    use std::os::unix::fs::PermissionsExt as _;

    let house = House::with(Pki::new(), "", &[]).await;
    let mounted = house.pki.mounted();
    let (certificate, key) = (mounted.join("tls.crt"), mounted.join("tls.key"));
    let (good, good_key) = (fs::read(&certificate).unwrap(), fs::read(&key).unwrap());
    let refused = |number: usize| {
        let house = &house;
        async move {
            eventually("it is told", async || (house.vault.stderr().matches(REFUSED).count() == number).then_some(()))
                .await;
            assert_eq!(house.caller(None).get("ada").await.unwrap_err().code(), Code::NotFound);
        }
    };

    fs::write(&certificate, "-----BEGIN CERTIFICATE-----\nnonsense\n").unwrap();
    refused(1).await;
    fs::write(&certificate, &good).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    refused(2).await;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(&certificate).unwrap();
    refused(3).await;
    house.pki.install(&house.pki.servers.sign("late", &Wish::server().made("5 days ago")));
    refused(4).await;
    assert!(house.vault.stderr().contains("expired on 20"), "{}", house.vault.stderr());
    let kept = (good, good_key);
    assert!(!kept.0.is_empty() && !kept.1.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_near_its_end_is_warned_of_with_the_days_left() {
    let pki = Pki::new();
    pki.install(&pki.servers.sign("old", &Wish::server().for_days(12).made("10 days ago")));
    let house = House::with(pki, "", &[]).await;

    let warned =
        eventually("it warns", async || house.vault.logged("the certificate of the server expires soon")).await;

    assert_eq!((&warned["alarm"], &warned["days_left"]), (&"certificate_expiry".into(), &1.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_is_added_without_a_restart() {
    let house = House::bound("required").await;
    let new = Authority::new(house.pki.mounted().parent().unwrap(), "next");
    let identity = new.sign("engine", &Wish::client(&format!("URI:{WORKLOAD}")));
    assert!(was_turned_away(&house.caller(Some(&identity)).get("ada").await.unwrap_err()));

    let bundle = house.pki.prod.certificate();
    let both = [fs::read(&bundle).unwrap(), fs::read(new.certificate()).unwrap()].concat();
    fs::write(&bundle, both).unwrap();

    let let_in = async || {
        let answer = house.caller(Some(&identity)).get("ada").await.unwrap_err();
        (answer.code() == Code::NotFound).then_some(())
    };
    eventually("both authorities are believed", let_in).await;
    let old = house.caller(Some(&house.pki.workload(WORKLOAD)));
    assert_eq!(old.get("ada").await.unwrap_err().code(), Code::NotFound);
}
