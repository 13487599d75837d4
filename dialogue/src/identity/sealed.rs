//! Authenticated encryption of short texts that a client sends back and can't read, such as a page token.
//!
//! A text is encrypted with a key stream of HMAC-SHA-256 in counter mode, then authenticated (encrypt-then-MAC). The
//! key is shared with [`Anonymous`](super::Anonymous); each use begins with a label of its own (domain separation),
//! with which no id of an anonymous user begins.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::random;

/// The first character of a sealed text, which is not allowed in the name of a room.
pub(super) const PREFIX: char = '~';

type Key = Hmac<Sha256>;

const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// Encrypts and authenticates a text.
pub(super) fn seal(key: &Key, text: &str) -> String {
    let nonce = random::<NONCE_BYTES>();
    let mut sealed = nonce.to_vec();
    sealed.extend(masked(key, &nonce, text.as_bytes()));
    let tag = tag(key, &sealed);
    sealed.extend_from_slice(&tag);
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(sealed))
}

/// Decrypts a sealed text; `None` if it was not sealed with this key.
pub(super) fn unseal(key: &Key, sealed: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(sealed.strip_prefix(PREFIX)?).ok()?;
    let (sealed, shown) = bytes.split_at_checked(bytes.len().checked_sub(TAG_BYTES)?)?;
    label(key, b"\0seal/tag", sealed).verify_truncated_left(shown).ok()?;
    let (nonce, text) = sealed.split_at_checked(NONCE_BYTES)?;
    String::from_utf8(masked(key, nonce, text)).ok()
}

/// Combines a text with the key stream of a nonce by XOR, which both encrypts and decrypts.
fn masked(key: &Key, nonce: &[u8], text: &[u8]) -> Vec<u8> {
    let blocks = (0_u32..).zip(text.chunks(32)).flat_map(|(number, chunk)| {
        let block = label(key, b"\0seal/stream", &[nonce, &number.to_be_bytes()].concat());
        let stream = block.finalize().into_bytes();
        chunk.iter().zip(stream).map(|(byte, mask)| byte ^ mask).collect::<Vec<_>>()
    });
    blocks.collect()
}

fn tag(key: &Key, sealed: &[u8]) -> [u8; TAG_BYTES] {
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
    fn a_sealed_text_is_unreadable_and_unseals_with_its_key() {
        for text in ["", "project:42", &"é".repeat(100)] {
            let sealed = seal(&key(1), text);
            assert_eq!(unseal(&key(1), &sealed).as_deref(), Some(text));
            assert_ne!(sealed, seal(&key(1), text));
            assert_eq!(unseal(&key(2), &sealed), None);
        }
        assert!(!seal(&key(1), "project:42").contains(&URL_SAFE_NO_PAD.encode("project:42")));
    }

    #[test]
    fn a_changed_text_does_not_unseal() {
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
