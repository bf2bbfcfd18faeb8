//! Project Wycheproof's vectors against the very crates the sealing primitive is made of.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut as _, Aes256Gcm, KeyInit as _, Nonce, Tag};
use hkdf::Hkdf;
use sha2::Sha256;
use wycheproof::{TestResult, aead, hkdf as hkdf_vectors};

/// Wycheproof has this many for the sizes the vault uses. The number stands here so that an empty file, or a filter
/// that matches nothing, is not a passed test.
const AES_256_GCM_CASES: usize = 66;
const HKDF_SHA256_CASES: usize = 86;

#[test]
fn aes_256_gcm_answers_as_wycheproof_says() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let ours = |group: &&aead::TestGroup| (group.key_size, group.nonce_size, group.tag_size) == (256, 96, 128);
    let mut cases = 0;

    for case in set.test_groups.iter().filter(ours).flat_map(|group| &group.tests) {
        cases += 1;
        let cipher = Aes256Gcm::new_from_slice(&case.key).unwrap();
        let nonce = Nonce::try_from(&case.nonce[..]).unwrap();
        let tag = Tag::try_from(&case.tag[..]).unwrap();

        let mut opened = case.ct.to_vec();
        let answer = cipher.decrypt_inout_detached(&nonce, &case.aad, InOutBuf::from(opened.as_mut_slice()), &tag);
        let mut sealed = case.pt.to_vec();
        let made = cipher.encrypt_inout_detached(&nonce, &case.aad, InOutBuf::from(sealed.as_mut_slice())).unwrap();

        match case.result {
            TestResult::Valid => {
                assert!(answer.is_ok(), "case {} does not open", case.tc_id);
                assert_eq!(opened, *case.pt, "case {} opens to something else", case.tc_id);
                assert_eq!((sealed, made), (case.ct.to_vec(), tag), "case {} is sealed to something else", case.tc_id);
            }
            TestResult::Invalid => assert!(answer.is_err(), "case {} was accepted", case.tc_id),
            TestResult::Acceptable => panic!("case {} leaves the answer open; look at it", case.tc_id),
        }
    }
    assert_eq!(cases, AES_256_GCM_CASES);
}

#[test]
fn hkdf_sha256_answers_as_wycheproof_says() {
    let set = hkdf_vectors::TestSet::load(hkdf_vectors::TestName::HkdfSha256).unwrap();
    let mut cases = 0;

    for case in set.test_groups.iter().flat_map(|group| &group.tests) {
        cases += 1;
        let mut output = vec![0; case.size];
        let answer = Hkdf::<Sha256>::new(Some(&case.salt), &case.ikm).expand(&case.info, &mut output);

        match case.result {
            TestResult::Valid => {
                assert!(answer.is_ok(), "case {} is refused", case.tc_id);
                assert_eq!(output, *case.okm, "case {} gives something else", case.tc_id);
            }
            TestResult::Invalid => assert!(answer.is_err(), "case {} was accepted", case.tc_id),
            TestResult::Acceptable => panic!("case {} leaves the answer open; look at it", case.tc_id),
        }
    }
    assert_eq!(cases, HKDF_SHA256_CASES);
}
