//! Short texts that a client hands back and can't read.
//!
//! Encrypted by a stream of HMAC-SHA-256 in counter mode, then authenticated (encrypt-then-MAC). Each use of the key begins
//! with a label of its own, which no id of an anonymous user begins with.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::random;

/// The character that a sealed text begins with. No room's name does.
pub(super) const PREFIX: char = '~';

type Key = Hmac<Sha256>;

const NONCE: usize = 12;
const TAG: usize = 16;

pub(super) fn seal(key: &Key, text: &str) -> String {
    let nonce = random::<NONCE>();
    let mut sealed = nonce.to_vec();
    sealed.extend(masked(key, &nonce, text.as_bytes()));
    let tag = tag(key, &sealed);
    sealed.extend_from_slice(&tag);
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(sealed))
}

pub(super) fn unseal(key: &Key, sealed: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(sealed.strip_prefix(PREFIX)?).ok()?;
    let (sealed, shown) = bytes.split_at_checked(bytes.len().checked_sub(TAG)?)?;
    label(key, b"\0seal/tag", sealed).verify_truncated_left(shown).ok()?;
    let (nonce, text) = sealed.split_at_checked(NONCE)?;
    String::from_utf8(masked(key, nonce, text)).ok()
}

/// The text, combined with the stream of a nonce: the same again gives it back.
fn masked(key: &Key, nonce: &[u8], text: &[u8]) -> Vec<u8> {
    let blocks = (0_u32..).zip(text.chunks(32)).flat_map(|(number, chunk)| {
        let block = label(key, b"\0seal/stream", &[nonce, &number.to_be_bytes()].concat());
        let stream = block.finalize().into_bytes();
        chunk.iter().zip(stream).map(|(byte, mask)| byte ^ mask).collect::<Vec<_>>()
    });
    blocks.collect()
}

fn tag(key: &Key, sealed: &[u8]) -> [u8; TAG] {
    let whole = label(key, b"\0seal/tag", sealed).finalize().into_bytes();
    whole.first_chunk().copied().unwrap_or_default()
}

fn label(key: &Key, label: &[u8], text: &[u8]) -> Key {
    let mut mac = key.clone();
    mac.update(label);
    mac.update(text);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Hmac::new(&[byte; 64].into())
    }

    #[test]
    fn what_is_sealed_comes_back_and_is_not_read() {
        for text in ["", "project:42", &"é".repeat(100)] {
            let sealed = seal(&key(1), text);
            assert_eq!(unseal(&key(1), &sealed).as_deref(), Some(text));
            assert_ne!(sealed, seal(&key(1), text));
            assert_eq!(unseal(&key(2), &sealed), None);
        }
        assert!(!seal(&key(1), "project:42").contains(&URL_SAFE_NO_PAD.encode("project:42")));
    }

    #[test]
    fn what_was_changed_is_none_of_ours() {
        let sealed = seal(&key(1), "project:42");
        for place in 1..sealed.len() - 1 {
            let mut bytes = sealed.clone().into_bytes();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            assert_eq!(unseal(&key(1), &String::from_utf8(bytes).unwrap()), None);
        }
        for text in ["~", "~AAAA", "project:42", "~é", ""] {
            assert_eq!(unseal(&key(1), text), None);
        }
    }
}
