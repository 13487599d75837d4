//! Hash slots and hash tags, by the
//! [Redis Cluster specification](https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/).

/// Returns the hash slot of a key: that of the text in its first pair of braces, or of the whole key if it has none or
/// the text is empty.
pub(crate) fn slot(key: &[u8]) -> u16 {
    crc16(hash_tag(key)) % SLOTS
}

pub(crate) const SLOTS: u16 = 16_384;

fn hash_tag(key: &[u8]) -> &[u8] {
    let inner = key.iter().position(|byte| *byte == b'{').and_then(|open| key.get(open + 1..));
    let end = inner.and_then(|inner| inner.iter().position(|byte| *byte == b'}'));
    match (inner, end) {
        (Some(inner), Some(end)) if end > 0 => inner.get(..end).unwrap_or(key),
        _ => key,
    }
}

/// Returns the CRC-16/XMODEM checksum, which the specification prescribes.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(
            crc ^ u16::from(*byte) << 8,
            |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(slot(b"foo"), 12_182);
        assert_eq!(slot(b"a:{foo}:b{c}"), 12_182);
        assert_eq!(slot(b"foo{}{bar}"), slot(b"foo{}{bar}"));
        assert_ne!(slot(b"foo{}{bar}"), slot(b"bar"));
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
    }
}
