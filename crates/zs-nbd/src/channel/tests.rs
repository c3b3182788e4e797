use super::*;
use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::os::unix::net::UnixStream;

/// Returns both sides of a connection, after their handshake.
fn pair() -> (ClientConnection, ServerConnection) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let secret = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], secret)
        .unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut raw = Raw::of(&bytes);
        assert_eq!(raw.decrypt(&mut server, &mut [0; 9]).unwrap(), None);
        let mut back = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut back).unwrap();
        }
        let mut back = &back[..];
        while !back.is_empty() {
            client.read_tls(&mut back).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    (client, server)
}

impl Raw {
    fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            begin: 0,
            end: bytes.len(),
        }
    }
}

#[test]
fn what_has_come_is_read_behind_the_deadline() {
    let (socket, mut other) = UnixStream::pair().unwrap();
    let channel = Channel::new(Socket::Unix(socket), Arc::new(StopSignal::new().unwrap()));
    other.write_all(b"here").unwrap();
    let (mut buf, past) = ([0; 9], Some(Instant::now()));
    assert_eq!(channel.read(&mut buf, past).unwrap(), 4);
    let late = channel.read(&mut buf, past).unwrap_err();
    assert_eq!(late.kind(), io::ErrorKind::TimedOut);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    /// The text and then the end come out, however records are cut, whatever the length of the
    /// buffer, and whatever follows the end.
    #[test]
    fn pieces_change_nothing(
        messages in prop::collection::vec(1..40_000_usize, 1..6),
        pieces in prop::collection::vec(1..70_000_usize, 1..9),
        rooms in prop::collection::vec(1..50_000_usize, 1..9),
        behind in 0..20_000_usize,
    ) {
        let (mut client, mut server) = pair();
        let (mut text, mut records) = (Vec::new(), Vec::new());
        for len in messages {
            let message: Vec<u8> = (0..len).map(|n| u8::try_from(n * n / 7 % 256).unwrap()).collect();
            for part in message.chunks(16 << 10) {
                client.writer().write_all(part).unwrap();
                client.write_tls(&mut records).unwrap();
            }
            text.extend(message);
        }
        client.send_close_notify();
        while client.wants_write() {
            client.write_tls(&mut records).unwrap();
        }
        records.resize(records.len() + behind, 0x17);
        let (mut plain, mut rest) = (Vec::new(), &records[..]);
        let mut rooms = rooms.iter().cycle();
        let ended = pieces.iter().cycle().find_map(|piece| {
            let (now, later) = rest.split_at((*piece).min(rest.len()));
            rest = later;
            let mut raw = Raw::of(now);
            loop {
                let mut buf = vec![0; *rooms.next().unwrap()];
                match raw.decrypt(&mut server, &mut buf).unwrap() {
                    None => return rest.is_empty().then_some(false),
                    Some(0) => return Some(true),
                    Some(len) => plain.extend_from_slice(&buf[..len]),
                }
            }
        });
        prop_assert_eq!(ended, Some(true));
        prop_assert!(plain == text);
    }
}
