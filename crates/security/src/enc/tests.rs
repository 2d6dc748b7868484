use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn document(file_key: &FileKey, cipher: Cipher, body: &[u8]) -> Vec<u8> {
    let sealing = Sealing {
        key_name: Some("my \"key\""),
        algorithm: KeyAlgorithm::A256Kw,
        wrapped: b"wrapped",
        cipher,
    };
    let (header, mut segments) = seal(file_key, &sealing).unwrap();
    let mut out = header.to_vec();
    let mut input = Bytes::copy_from_slice(body);
    while let Some(segment) = segments.push(&mut input).unwrap() {
        out.extend_from_slice(&segment);
    }
    out.extend_from_slice(&segments.finish().unwrap().unwrap_or_default());
    out
}

/// Hands the document over in pieces of `step` bytes.
fn read(file_key: &FileKey, document: &[u8], step: usize) -> Result<Vec<u8>, String> {
    let mut pieces = document.chunks(step);
    let mut reader = HeaderReader::default();
    let (header, mut input) = loop {
        let Some(piece) = pieces.next() else { return Err(reader.missing().to_string()) };
        if let Some(found) = reader.push(piece).map_err(|e| e.to_string())? {
            break found;
        }
    };
    assert_eq!(header.algorithm(), KeyAlgorithm::A256Kw);
    let mut segments = header.open(file_key).map_err(|e| e.to_string())?;
    let mut out = Vec::new();
    loop {
        while let Some(segment) = segments.push(&mut input).map_err(|e| e.to_string())? {
            out.extend_from_slice(&segment);
        }
        let Some(piece) = pieces.next() else { break };
        input = Bytes::copy_from_slice(piece);
    }
    out.extend_from_slice(&segments.finish().map_err(|e| e.to_string())?.unwrap_or_default());
    Ok(out)
}

#[test]
fn documents_of_every_length_come_back() {
    let key = FileKey::random();
    for cipher in [Cipher::AesGcm, Cipher::ChaCha20Poly1305] {
        for length in [0, 1, 16, SEGMENT_SIZE - 1, SEGMENT_SIZE, SEGMENT_SIZE + 1, 3 * SEGMENT_SIZE] {
            let body: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let sealed = document(&key, cipher, &body);
            for step in [SEGMENT_SIZE + 17, 1000] {
                assert!(read(&key, &sealed, step).unwrap() == body, "{cipher:?} {length} {step}");
            }
        }
    }
}

#[test]
fn the_header_has_three_lines_and_tells_the_key() {
    let sealed = document(&FileKey::random(), Cipher::AesGcm, b"");
    let text = String::from_utf8(sealed.clone()).unwrap();
    assert!(text.starts_with("dapr.io/enc/v1\n{\"k\":\"my \\\"key\\\"\",\"kw\":1,\"wfk\":\""), "{text}");
    assert_eq!(text.lines().count(), 3);
    let (header, rest) = HeaderReader::default().push(&sealed).unwrap().unwrap();
    assert_eq!((header.key_name(), rest.len()), (Some("my \"key\""), 0));
    assert_eq!(header.wrapped_file_key(), b"wrapped");
}

#[test]
fn a_key_name_that_fills_the_header_is_refused() {
    let name = "x".repeat(SEGMENT_SIZE);
    let sealing = Sealing {
        key_name: Some(&name),
        algorithm: KeyAlgorithm::RsaOaep256,
        wrapped: b"w",
        cipher: Cipher::AesGcm,
    };
    assert_eq!(seal(&FileKey::random(), &sealing).err(), Some(HeaderError::TooLong));
}

fn header_error(text: &str) -> HeaderError {
    let mut reader = HeaderReader::default();
    match reader.push(text.as_bytes()) {
        Ok(Some(_)) => panic!("{text:?} is a header"),
        Ok(None) => reader.missing(),
        Err(error) => error,
    }
}

#[test]
fn what_is_no_header_is_told_apart() {
    let manifest = r#"{"kw":1,"wfk":"AA==","cph":1,"np":"AAAAAAAAAA=="}"#;
    for (text, expected) in [
        ("", HeaderError::NoScheme),
        ("dapr.io/enc/v1", HeaderError::NoScheme),
        ("dapr.io/enc/v2\n", HeaderError::Scheme),
        ("\n\n\n", HeaderError::Format),
        ("dapr.io/enc/v1\n", HeaderError::NoManifest),
        ("dapr.io/enc/v1\n\nx\n", HeaderError::Format),
        ("dapr.io/enc/v1\nx\n", HeaderError::NoMac),
        ("dapr.io/enc/v1\nx\ny", HeaderError::NoMac),
        ("dapr.io/enc/v1\nx\ny\n", HeaderError::Manifest),
        ("dapr.io/enc/v1\n[]\ny\n", HeaderError::Manifest),
    ] {
        assert_eq!(header_error(text), expected, "{text:?}");
    }
    assert_eq!(header_error(&"x".repeat(SEGMENT_SIZE)), HeaderError::NoScheme);
    for (from, to) in [
        ("\"kw\":1", "\"kw\":9"),
        ("AA==\",\"cph", "\",\"cph"),
        ("\"cph\":1", "\"cph\":3"),
        ("AAAAAAAAAA==", "AAAA"),
    ] {
        let broken = manifest.replacen(from, to, 1);
        assert_ne!(broken, manifest);
        assert_eq!(header_error(&format!("{SCHEME}\n{broken}\nAA==\n")), HeaderError::Manifest, "{broken}");
    }
    let upper = manifest.replace("wfk", "WFK");
    let (header, _) =
        HeaderReader::default().push(format!("{SCHEME}\n{upper}\n%%\n").as_bytes()).unwrap().unwrap();
    assert_eq!(header.key_name(), None);
    assert_eq!(header.open(&FileKey::random()).err(), Some(HeaderError::MacEncoding));
}

#[test]
fn changed_documents_do_not_open() {
    let key = FileKey::random();
    let sealed = document(&key, Cipher::AesGcm, &vec![7; 2 * SEGMENT_SIZE + 5]);
    let header = sealed.len() - (2 * SEGMENT_SIZE + 5 + 3 * 16);
    let whole = SEGMENT_SIZE + 16;
    assert_eq!(read(&FileKey::unusable(), &sealed, 999).unwrap_err(), HeaderError::Signature.to_string());
    let mut flipped = sealed.clone();
    flipped[header + whole] ^= 1;
    assert_eq!(read(&key, &flipped, 999).unwrap_err(), SegmentError::Decrypt(1).to_string());
    // Cut at the boundary of a segment: the new last one was not sealed as such.
    assert_eq!(read(&key, &sealed[..header + whole], 999).unwrap_err(), SegmentError::Decrypt(0).to_string());
    let mut swapped = sealed.clone();
    swapped[header..header + 2 * whole].rotate_left(whole);
    assert_eq!(read(&key, &swapped, 999).unwrap_err(), SegmentError::Decrypt(0).to_string());
    assert_eq!(read(&key, &sealed[..header + 3], 999).unwrap_err(), SegmentError::Decrypt(0).to_string());
}

#[test]
fn names_and_numbers_of_algorithms() {
    assert_eq!(KeyAlgorithm::named("AES"), Some(KeyAlgorithm::A256Kw));
    assert_eq!(KeyAlgorithm::named("RSA"), Some(KeyAlgorithm::RsaOaep256));
    assert_eq!(KeyAlgorithm::named("rsa"), None);
    for (algorithm, number, name) in KeyAlgorithm::ALL {
        assert_eq!((algorithm.name(), algorithm.number()), (name, number));
        assert_eq!(KeyAlgorithm::numbered(number), Some(algorithm));
    }
    assert_eq!(Cipher::named("CHACHA20-POLY1305"), Some(Cipher::ChaCha20Poly1305));
}

proptest! {
    /// Whatever the bytes, the parser gives an answer and takes no more than
    /// it was given.
    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), step in 1usize..50) {
        let mut reader = HeaderReader::default();
        for piece in bytes.chunks(step) {
            match reader.push(piece) {
                Ok(None) => {}
                Ok(Some((_, rest))) => {
                    prop_assert!(rest.len() <= piece.len());
                    break;
                }
                Err(_) => break,
            }
        }
    }

    /// A header whose lines hold anything but line feeds is read the same in
    /// whatever pieces it comes.
    #[test]
    fn pieces_make_no_difference(manifest in "[^\n]{1,200}", mac in "[^\n]{1,60}", step in 1usize..64) {
        let text = format!("{SCHEME}\n{manifest}\n{mac}\nbody");
        let whole = HeaderReader::default().push(text.as_bytes()).map(|h| h.is_some());
        let mut reader = HeaderReader::default();
        let mut outcome = Ok(false);
        for piece in text.as_bytes().chunks(step) {
            outcome = reader.push(piece).map(|h| h.is_some());
            if outcome != Ok(false) {
                break;
            }
        }
        prop_assert_eq!(outcome, whole);
    }

    /// One changed byte anywhere is noticed.
    #[test]
    fn a_changed_byte_is_noticed(body in prop::collection::vec(any::<u8>(), 1..200), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let key = FileKey::random();
        let mut sealed = document(&key, Cipher::ChaCha20Poly1305, &body);
        let at = at.index(sealed.len());
        sealed[at] ^= 1 << bit;
        prop_assert_ne!(std::panic::catch_unwind(|| read(&key, &sealed, 50)).ok().and_then(Result::ok), Some(body));
    }
}
