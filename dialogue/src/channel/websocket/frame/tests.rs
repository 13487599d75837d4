use bytes::{BufMut, Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{encode::put_header, *};

const LIMIT: usize = 200_000;

/// Returns a client's frame with this first byte and key.
fn client_frame(first: u8, key: [u8; 4], payload: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    put_header(&mut out, Opcode::Text, payload.len());
    out[0] = first;
    out[1] |= 0x80;
    out.put_slice(&key);
    out.extend(payload.iter().zip(key.into_iter().cycle()).map(|(byte, key)| byte ^ key));
    out
}

fn frame(first: u8, payload: &[u8]) -> BytesMut {
    client_frame(first, [0x37, 0xfa, 0x21, 0x3d], payload)
}

fn frames(frames: &[(u8, &[u8])]) -> BytesMut {
    frames.iter().flat_map(|(first, payload)| frame(*first, payload)).collect()
}

fn text(text: &str) -> IncomingMessage {
    IncomingMessage::Text(Text::from_utf8(text.as_bytes()).expect("a str"))
}

/// Decodes the pieces one after the other. Returns the messages, and the violation that ended the decoding.
fn decode<'a>(
    limit: usize,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<IncomingMessage>, Option<Violation>) {
    let (mut decoder, mut input, mut out) = (Decoder::new(limit), BytesMut::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match decoder.next(&mut input) {
                Ok(Some(incoming)) => out.push(incoming),
                Ok(None) => break,
                Err(violation) => return (out, Some(violation)),
            }
        }
    }
    (out, None)
}

fn violation(limit: usize, wire: &[u8]) -> Option<u16> {
    decode(limit, [wire]).1.map(|violation| violation.code)
}

#[test]
fn the_example_of_the_rfc_decodes() {
    let wire = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(decode(LIMIT, [&wire[..]]), (vec![text("Hello")], None));
    assert_eq!(decode(LIMIT, wire.chunks(1)), (vec![text("Hello")], None));
}

#[test]
fn broken_frames_are_refused_with_their_code() {
    let masked_len = |first: u8, rest: &[u8]| [&[first], rest].concat();
    for (what, wire, code) in [
        ("reserved bit", frame(0xC1, b"x").to_vec(), 1002),
        ("reserved opcode", frame(0x83, b"x").to_vec(), 1002),
        ("reserved control opcode", frame(0x8B, b"").to_vec(), 1002),
        ("unmasked", vec![0x81, 0x01], 1002),
        ("fragmented ping", frame(0x09, b"x").to_vec(), 1002),
        ("long ping, by its first two bytes", vec![0x89, 0xFE], 1002),
        ("5 in 16 bits", masked_len(0x81, &[0xFE, 0, 5]), 1002),
        ("5 in 64 bits", masked_len(0x81, &[0xFF, 0, 0, 0, 0, 0, 0, 0, 5]), 1002),
        ("2^63", masked_len(0x81, &[0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0]), 1002),
        ("2^63 - 1", masked_len(0x82, &[0xFF, 0x7F, 255, 255, 255, 255, 255, 255, 255]), 1009),
        ("over the limit, by its header", masked_len(0x81, &[0xFE, 0xFF, 0xFF]), 1009),
        ("fragments over the limit", frames(&[(0x02, &[0; 900]), (0x80, &[0; 101])]).to_vec(), 1009),
        ("continuation first", frame(0x80, b"x").to_vec(), 1002),
        ("message in message", frames(&[(0x01, b"x"), (0x81, b"y")]).to_vec(), 1002),
        ("continuation of a whole message", frames(&[(0x81, b"x"), (0x80, b"y")]).to_vec(), 1002),
        ("text not UTF-8", frame(0x81, b"\xC0\xAF").to_vec(), 1007),
        ("text cut off", frame(0x81, b"\xE2\x82").to_vec(), 1007),
        ("fragmented text cut off", frames(&[(0x01, b"\xE2"), (0x80, b"\x82")]).to_vec(), 1007),
        ("first fragment not UTF-8", frame(0x01, b"\xED\xA0").to_vec(), 1007),
        ("close with half a code", frame(0x88, b"\x03").to_vec(), 1002),
        ("close reason not UTF-8", frame(0x88, b"\x03\xE8\xFF").to_vec(), 1007),
    ] {
        assert_eq!(violation(1000, &wire), Some(code), "{what}");
    }
}

#[test]
fn a_message_of_the_maximum_size_is_accepted() {
    for payload in [[b'x'; 1000].as_slice(), &[b'x'; 125], &[b'x'; 126], b""] {
        let whole = (vec![text(std::str::from_utf8(payload).expect("ASCII"))], None);
        assert_eq!(decode(1000, [&frame(0x81, payload)[..]]), whole);
        assert_eq!(decode(1000, [&frames(&[(0x01, payload), (0x00, b""), (0x80, b"")])[..]]), whole);
    }
}

#[test]
fn text_fails_at_its_first_wrong_byte() {
    // Autobahn's test 6.4: the rest of the frame has not arrived.
    let wire = frame(0x81, "κόσμε\u{10FFFF}".as_bytes());
    let mut bad = frame(0x81, b"\xCE\xBA\xE1\xBD\xB9\xF4\x90\x80\x80edited");
    assert_eq!(violation(LIMIT, &wire[..wire.len() - 1]), None);
    let upto = bad.len() - "\u{80}\u{80}edited".len() + 2;
    assert_eq!(decode(LIMIT, [&bad.split_to(upto)[..]]).1.map(|violation| violation.code), Some(1007));
}

#[test]
fn only_valid_close_codes_are_accepted() {
    for code in 0..=u16::MAX {
        let allowed = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        let payload = [&code.to_be_bytes()[..], b"bye"].concat();
        let close = CloseFrame { code, reason: Text::from_utf8(b"bye").expect("ASCII") };
        let (out, violation) = decode(LIMIT, [&frame(0x88, &payload)[..]]);
        assert_eq!(violation.map(|violation| violation.code), (!allowed).then_some(1002), "{code}");
        assert_eq!(out, Vec::from_iter(allowed.then_some(IncomingMessage::Close(Some(close)))));
    }
}

#[test]
fn nothing_is_decoded_after_a_close_or_violation() {
    let after_close = frames(&[(0x88, b""), (0x81, b"late")]);
    assert_eq!(decode(LIMIT, [&after_close[..]]), (vec![IncomingMessage::Close(None)], None));

    let (mut decoder, mut input) = (Decoder::new(LIMIT), frames(&[(0x80, b""), (0x81, b"late")]));
    assert!(decoder.next(&mut input).is_err());
    input.extend_from_slice(&frame(0x81, b"later"));
    assert_eq!(decoder.next(&mut input), Ok(None));
    assert!(input.is_empty());
}

#[test]
fn a_claimed_length_takes_no_memory() {
    let mut wire = BytesMut::from(&[0x82, 0xFF, 0, 0, 0x7F, 255, 255, 255, 255, 255, 1, 2, 3, 4, 5][..]);
    let capacity = wire.capacity();
    let mut decoder = Decoder::new(usize::MAX);
    assert_eq!(decoder.next(&mut wire), Ok(None));
    assert!(wire.is_empty() && wire.capacity() <= capacity);
}

#[test]
fn a_binary_message_in_one_frame_is_not_copied() {
    let mut wire = frame(0x82, &[7; 100]);
    let payload_at = wire[6..].as_ptr();
    let Ok(Some(IncomingMessage::Binary(bytes))) = Decoder::new(LIMIT).next(&mut wire) else {
        panic!("no message")
    };
    assert_eq!(bytes.as_ptr(), payload_at);
    assert_eq!(bytes, vec![7; 100]);
}

#[test]
fn text_is_not_printed() {
    assert_eq!(format!("{:?}", text("secret")), "Text(Text(6 bytes))");
    let mut wire = frames(&[(0x01, b"sec"), (0x00, b"ret\xE2")]);
    let mut decoder = Decoder::new(LIMIT);
    assert_eq!(decoder.next(&mut wire), Ok(None));
    assert!(!format!("{decoder:?}").contains("sec"));
}

#[test]
fn server_frames_have_the_shortest_header() {
    for (len, header) in [
        (0, &[0x81, 0][..]),
        (125, &[0x81, 125]),
        (126, &[0x81, 126, 0, 126]),
        (65_535, &[0x81, 126, 0xFF, 0xFF]),
        (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        let mut out = BytesMut::new();
        put_text(&mut out, &vec![b'x'; len]);
        assert_eq!((&out[..header.len()], out.len()), (header, header.len() + len));
    }
}

#[test]
fn control_frames_are_truncated_to_125_bytes() {
    let mut out = BytesMut::new();
    put_binary(&mut out, b"b");
    put_pong(&mut out, b"pong");
    put_close(&mut out, 1000, "");
    assert_eq!(&out[..], b"\x82\x01b\x8A\x04pong\x88\x02\x03\xE8");
    out.clear();
    put_ping(&mut out, &[0; 200]);
    assert_eq!((&out[..2], out.len()), (&[0x89, 125][..], 127));
    out.clear();
    put_close(&mut out, 4401, &"é".repeat(100));
    assert_eq!(&out[..4], &[0x88, 124, 0x11, 0x31]);
    assert_eq!(std::str::from_utf8(&out[4..]), Ok(&*"é".repeat(61)));
}

/// A message, the points at which it is fragmented, and the control frames before each fragment.
#[derive(Debug, Clone)]
struct Sent {
    message: IncomingMessage,
    cuts: Vec<prop::sample::Index>,
    controls: Vec<Option<IncomingMessage>>,
    keys: Vec<[u8; 4]>,
}

impl Sent {
    /// Appends the frames to `wire`, and the messages that they must decode to to `expected`.
    fn put(&self, wire: &mut BytesMut, expected: &mut Vec<IncomingMessage>) {
        let (opcode, payload) = match &self.message {
            IncomingMessage::Text(text) => (0x1, text.as_bytes()),
            IncomingMessage::Binary(bytes) => (0x2, &bytes[..]),
            other => unreachable!("{other:?} is no message"),
        };
        let mut cuts: Vec<_> = self.cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(payload.len());
        let (mut keys, mut controls) = (self.keys.iter().cycle(), self.controls.iter().cycle());
        let mut start = 0;
        for (at, end) in cuts.iter().copied().enumerate() {
            let mut key = || *keys.next().expect("at least one");
            if let Some(control) = controls.next().expect("at least one") {
                let (first, payload) = match control {
                    IncomingMessage::Ping(payload) => (0x89, payload),
                    IncomingMessage::Pong(payload) => (0x8A, payload),
                    other => unreachable!("{other:?} does not interleave"),
                };
                wire.extend_from_slice(&client_frame(first, key(), payload));
                expected.push(control.clone());
            }
            let fin = if at + 1 == cuts.len() { 0x80 } else { 0 };
            let opcode = if at == 0 { opcode } else { 0 };
            wire.extend_from_slice(&client_frame(fin | opcode, key(), &payload[start..end]));
            start = end;
        }
        expected.push(self.message.clone());
    }
}

fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=most).prop_map(Bytes::from)
}

fn sent() -> impl Strategy<Value = Sent> {
    let message = prop_oneof![
        3 => "\\PC{0,60}".prop_map(|said| text(&said)),
        1 => "[a-zκ€𝄞]{100,300}".prop_map(|said| text(&said)),
        1 => bytes(300).prop_map(IncomingMessage::Binary),
        1 => (65_530..65_540usize).prop_map(|len| IncomingMessage::Binary(vec![b'x'; len].into())),
    ];
    let control = proptest::option::weighted(
        0.3,
        prop_oneof![bytes(125).prop_map(IncomingMessage::Ping), bytes(125).prop_map(IncomingMessage::Pong)],
    );
    (message, vec(any::<prop::sample::Index>(), 0..4), vec(control, 1..4), vec(any::<[u8; 4]>(), 1..4))
        .prop_map(|(message, cuts, controls, keys)| Sent { message, cuts, controls, keys })
}

/// Splits `wire` into reads of these sizes, cyclically.
fn reads<'a>(mut wire: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    sizes.iter().cycle().map_while(move |size| {
        let (read, rest) = wire.split_at((*size).min(wire.len()));
        wire = rest;
        (!read.is_empty()).then_some(read)
    })
}

proptest! {
    #[test]
    fn all_sent_messages_are_decoded(
        sent in vec(sent(), 1..6),
        sizes in vec(prop_oneof![1..8usize, 1..200usize, 1000..70_000usize], 1..6),
    ) {
        let (mut wire, mut expected) = (BytesMut::new(), Vec::new());
        for sent in &sent {
            sent.put(&mut wire, &mut expected);
        }
        let (out, violation) = decode(LIMIT, reads(&wire, &sizes));
        prop_assert_eq!(violation, None);
        prop_assert!(out == expected, "{:?} is not {:?}", out, expected);
    }

    #[test]
    fn fragmentation_of_reads_changes_nothing(
        sent in vec(sent(), 0..3),
        noise in vec(any::<u8>(), 0..40),
        at in any::<prop::sample::Index>(),
        sizes in vec(1..30usize, 1..6),
    ) {
        let mut wire = BytesMut::new();
        for sent in &sent {
            sent.put(&mut wire, &mut Vec::new());
        }
        let mut noisy = wire.split_to(at.index(wire.len() + 1));
        noisy.extend_from_slice(&noise);
        let whole = decode(LIMIT, [&noisy[..]]);
        let pieces = decode(LIMIT, reads(&noisy, &sizes));
        prop_assert!(whole == pieces, "{:?} is not {:?}", whole, pieces);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(wire in vec(any::<u8>(), 0..400), limit in 0..300usize) {
        decode(limit, [&wire[..]]);
    }

    #[test]
    fn unmasking_is_the_exclusive_or(payload in vec(any::<u8>(), 0..80), from in 0..9usize, key: [u8; 4]) {
        let mut unmasked = payload.clone();
        let from = from.min(payload.len());
        unmask(&mut unmasked[from..], key);
        let plain = payload[from..].iter().zip(key.into_iter().cycle()).map(|(byte, key)| byte ^ key);
        prop_assert!(unmasked[from..].iter().copied().eq(plain));
    }
}
