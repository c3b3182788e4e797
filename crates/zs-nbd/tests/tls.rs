//! TLS: certificates on both sides, and no downgrade.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod client;

use client::{ACK, Client, ERR, EXPORT_NAME, GO, GREETING, LIST, START_TLS, STRUCTURED, Take};
use client::{exports, go, notes, option};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use zs_nbd::{Endpoint, Limits, MemoryDevice, Server, Stopped, Tls, TlsError};

struct Setup {
    folder: TempDir,
    server: Server,
    address: SocketAddr,
    notes: Arc<Mutex<Vec<String>>>,
}

/// Makes an authority, and a certificate of it for each name, as files `NAME.pem` and `NAME.key`.
fn certificates(folder: &Path, authority: &str, names: &[&str]) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(folder.join(authority), issuer.pem()).unwrap();
    for name in names {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

fn setup() -> Setup {
    limited(Limits::default())
}

fn limited(limits: Limits) -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    certificates(folder.path(), "ca.pem", &["server", "client"]);
    certificates(folder.path(), "others.pem", &["stranger"]);
    let tls = Tls::from_files(&file("server.pem"), &file("server.key"), &file("ca.pem")).unwrap();
    // Beyond this machine: that is what TLS is for.
    let endpoint = Endpoint::tcp("0.0.0.0:0".parse().unwrap(), Some(tls)).unwrap();
    let port = endpoint.tcp_address().unwrap().port();
    let device = Arc::new(MemoryDevice::new(64 << 20).unwrap());
    let (observer, notes) = notes();
    let server = Server::start(exports(device), vec![endpoint], limits, observer).unwrap();
    Setup {
        folder,
        server,
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        notes,
    }
}

impl Setup {
    fn client(&self) -> Client<StreamOwned<ClientConnection, TcpStream>> {
        let stream = start_tls(self.address);
        let stream = encrypt(stream, self.folder.path(), Some("client"));
        let mut client = Client { stream };
        client.enter();
        client
    }
}

/// Returns a connection in clear, after STARTTLS.
fn start_tls(address: SocketAddr) -> TcpStream {
    try_start_tls(address).unwrap()
}

/// Returns `None` if the server has closed the connection.
fn try_start_tls(address: SocketAddr) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut bytes = 3_u32.to_be_bytes().to_vec();
    bytes.extend(option(START_TLS, &[]));
    stream.write_all(&bytes).ok()?;
    let mut answer = vec![0; GREETING + 20];
    stream.read_exact(&mut answer).ok()?;
    assert_eq!(Take(&answer[GREETING..]).answer(START_TLS).0, ACK);
    Some(stream)
}

fn encrypt(
    stream: TcpStream,
    folder: &Path,
    name: Option<&str>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap();
    roots.add(authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match name {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let chain = CertificateDer::from_pem_file(folder.join(format!("{name}.pem"))).unwrap();
            let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).unwrap();
            builder.with_client_auth_cert(vec![chain], key).unwrap()
        }
    };
    let server = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), server).unwrap();
    StreamOwned::new(connection, stream)
}

#[test]
fn with_a_certificate_everything_works() {
    let setup = setup();
    let mut client = setup.client();
    let bytes: Vec<u8> = (0..20 << 20).map(|n: u32| (n / 7) as u8).collect();
    client.write(12_345, &bytes);
    assert!(client.read(12_345, bytes.len() as u32) == bytes);
    client.send(&client::request(client::DISCONNECT, 0, 0, 0, 0));
    // A close alert was received. rustls would report a missing one.
    assert_eq!(client.stream.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(setup.server.stop(Duration::from_secs(60)), Stopped::InTime);
    let notes = setup.notes.lock().unwrap().join("\n");
    assert!(notes.contains("Goodbye"), "{notes}");
}

/// At the end, an idle client gets a close alert.
#[test]
fn the_end_says_goodbye() {
    let setup = setup();
    let mut client = setup.client();
    client.write(0, b"encrypted");
    let Setup { server, .. } = setup;
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| server.stop(Duration::from_secs(60)));
        assert_eq!(client.stream.read(&mut [0; 1]).unwrap(), 0);
        drop(client);
        assert_eq!(stopping.join().unwrap(), Stopped::InTime);
    });
}

/// Bytes behind a close alert of TLS are ignored, however many, and hold up no other client.
#[test]
fn bytes_behind_a_goodbye_are_the_end() {
    let setup = setup();
    let mut client = setup.client();
    client.write(0, b"before");
    let StreamOwned { conn, sock } = &mut client.stream;
    conn.send_close_notify();
    let mut bytes = Vec::new();
    conn.write_tls(&mut bytes).unwrap();
    bytes.resize(bytes.len() + (16 << 10), 0x17);
    sock.write_all(&bytes).unwrap();
    sock.read_to_end(&mut Vec::new()).ok();
    assert_eq!(setup.client().read(0, 6), b"before");
    let Setup { server, notes, .. } = setup;
    assert_eq!(server.stop(Duration::from_secs(60)), Stopped::InTime);
    let notes = notes.lock().unwrap().join("\n");
    assert!(notes.contains("Closed(1, Gone { cut: false })"), "{notes}");
}

/// A record that comes byte by byte gains no time. The limit is for the handshake, not for each
/// byte.
#[test]
fn a_byte_now_and_then_is_not_enough() {
    let setup = limited(Limits {
        handshake: Duration::from_millis(500),
        ..Limits::default()
    });
    // A client that is too slow for it may connect again.
    let mut stream = loop {
        if let Some(stream) = try_start_tls(setup.address) {
            break stream;
        }
    };
    // A handshake record of 16 KiB, sent byte by byte with pauses.
    stream.write_all(&[22, 3, 1, 64, 0]).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    for _ in 0..1000 {
        let waits = |kind| matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut);
        match stream.read(&mut [0; 64]) {
            Err(error) if waits(error.kind()) => {}
            _ => break,
        }
        if stream.write_all(&[1]).is_err() {
            break;
        }
    }
    let Setup { server, notes, .. } = setup;
    let _ = server.stop(Duration::ZERO);
    let notes = notes.lock().unwrap();
    let last = notes.iter().rfind(|note| note.starts_with("Closed"));
    assert!(last.unwrap().contains("Slow(500ms)"), "{notes:?}");
}

#[test]
fn without_the_right_certificate_nothing_does() {
    let setup = setup();
    for name in [None, Some("stranger")] {
        let mut stream = encrypt(start_tls(setup.address), setup.folder.path(), name);
        let asked = stream.write_all(&option(EXPORT_NAME, b""));
        let answered = asked.and_then(|()| stream.read_exact(&mut [0; 10]));
        assert!(answered.is_err(), "{name:?} came in");
    }
}

#[test]
fn there_is_no_way_down() {
    let setup = setup();
    let mut stream = TcpStream::connect(setup.address).unwrap();
    let mut bytes = 3_u32.to_be_bytes().to_vec();
    for code in [LIST, STRUCTURED] {
        bytes.extend(option(code, &[]));
    }
    bytes.extend(option(GO, &go("disk", &[])));
    stream.write_all(&bytes).unwrap();
    stream.read_exact(&mut [0; GREETING]).unwrap();
    for code in [LIST, STRUCTURED, GO] {
        let mut head = [0; 20];
        stream.read_exact(&mut head).unwrap();
        let len = u32::from_be_bytes([head[16], head[17], head[18], head[19]]);
        stream.read_exact(&mut vec![0; len as usize]).unwrap();
        assert_eq!(head[8..12], code.to_be_bytes());
        assert_eq!(head[12..16], (ERR + 5).to_be_bytes());
    }
    stream.write_all(&option(EXPORT_NAME, b"disk")).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
}

/// Clear bytes behind STARTTLS must not count as encrypted.
#[test]
fn bytes_behind_starttls_end_the_connection() {
    let setup = setup();
    let mut stream = TcpStream::connect(setup.address).unwrap();
    let mut bytes = 3_u32.to_be_bytes().to_vec();
    bytes.extend(option(START_TLS, &[]));
    bytes.extend(option(EXPORT_NAME, b"disk"));
    stream.write_all(&bytes).unwrap();
    stream.read_to_end(&mut Vec::new()).ok();
    assert_eq!(setup.server.stop(Duration::from_secs(60)), Stopped::InTime);
    let notes = setup.notes.lock().unwrap().join("\n");
    assert!(notes.contains("BehindStartTls"), "{notes}");
}

#[test]
fn files_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    certificates(folder.path(), "ca.pem", &["server", "other"]);
    fs::write(file("empty"), "").unwrap();
    let tls = |certificate: &str, key: &str, authority: &str| {
        Tls::from_files(&file(certificate), &file(key), &file(authority)).map(drop)
    };
    assert!(tls("server.pem", "server.key", "ca.pem").is_ok());
    let missing = tls("missing", "server.key", "ca.pem").unwrap_err();
    assert!(missing.to_string().contains("missing"), "{missing}");
    assert!(matches!(
        tls("empty", "server.key", "ca.pem"),
        Err(TlsError::Empty(_))
    ));
    assert!(matches!(
        tls("server.pem", "empty", "ca.pem"),
        Err(TlsError::File { .. })
    ));
    assert!(matches!(
        tls("server.pem", "other.key", "ca.pem"),
        Err(TlsError::Config(_))
    ));
    assert!(matches!(
        tls("server.pem", "server.key", "empty"),
        Err(TlsError::Empty(_))
    ));
}
