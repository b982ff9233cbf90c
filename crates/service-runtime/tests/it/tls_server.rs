//! An HTTPS server on loopback with an authority made for the test: enough to see who trusts whom.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
};

use openssl::{
    asn1::Asn1Time,
    bn::{BigNum, MsbOption},
    hash::MessageDigest,
    pkey::{PKey, Private},
    rsa::Rsa,
    ssl::{SslAcceptor, SslMethod, SslStream, SslVerifyMode},
    x509::{
        X509, X509Name,
        extension::{BasicConstraints, SubjectAlternativeName},
    },
};
use tempfile::TempDir;

/// Files of an authority, and of a client that it vouches for.
pub(crate) struct Authority {
    dir: TempDir,
    cert: X509,
    key: PKey<Private>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let (cert, key) = make_cert("test authority", None);
        let authority = Self { dir: tempfile::tempdir().unwrap(), cert, key };
        std::fs::write(authority.ca_file(), authority.cert.to_pem().unwrap()).unwrap();
        authority
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Certificate and key of a client by that name.
    pub(crate) fn client_files(&self, name: &str) -> (PathBuf, PathBuf) {
        let (cert, key) = make_cert(name, Some(self));
        let files = (self.dir.path().join("client.pem"), self.dir.path().join("client.key"));
        std::fs::write(&files.0, cert.to_pem().unwrap()).unwrap();
        std::fs::write(&files.1, key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        files
    }

    /// Serves HTTPS until the test process ends; answers with the name of the client's certificate, or `nobody`.
    pub(crate) fn serve(&self) -> String {
        let (cert, key) = make_cert("127.0.0.1", Some(self));
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        acceptor.set_private_key(&key).unwrap();
        acceptor.set_certificate(&cert).unwrap();
        acceptor.set_ca_file(self.ca_file()).unwrap();
        acceptor.set_verify(SslVerifyMode::PEER);
        let acceptor = acceptor.build();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that does not trust us breaks off, which is what some tests want.
                if let Ok(stream) = acceptor.accept(stream.unwrap()) {
                    answer(stream);
                }
            }
        });
        url
    }
}

fn answer(mut stream: SslStream<std::net::TcpStream>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let peer = stream.ssl().peer_certificate();
    let name = peer
        .as_ref()
        .and_then(|cert| cert.subject_name().entries().next())
        .map(|name| name.data().to_string().unwrap());
    let name = name.unwrap_or_else(|| "nobody".to_owned());
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{name}",
        name.len()
    );
    let _ = stream.shutdown();
}

/// A certificate for `name` (also as an address) that is valid today, signed by `issuer` or by itself.
fn make_cert(name: &str, issuer: Option<&Authority>) -> (X509, PKey<Private>) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut subject = X509Name::builder().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut serial = BigNum::new().unwrap();
    serial.rand(64, MsbOption::MAYBE_ZERO, false).unwrap();

    let mut cert = X509::builder().unwrap();
    cert.set_version(2).unwrap();
    cert.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    cert.set_subject_name(&subject).unwrap();
    cert.set_issuer_name(issuer.map_or(&*subject, |issuer| issuer.cert.subject_name())).unwrap();
    cert.set_pubkey(&key).unwrap();
    cert.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    cert.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    match issuer {
        None => cert.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap(),
        Some(issuer) => {
            let names = SubjectAlternativeName::new()
                .ip("127.0.0.1")
                .build(&cert.x509v3_context(Some(&issuer.cert), None));
            cert.append_extension(names.unwrap()).unwrap();
        }
    }
    cert.sign(issuer.map_or(&key, |issuer| &issuer.key), MessageDigest::sha256()).unwrap();
    (cert.build(), key)
}

/// The path as it stands in YAML.
pub(crate) fn yaml(path: &Path) -> &str {
    path.to_str().unwrap()
}
