//! Over TLS, to a server whose certificate no machine trusts by itself.

use super::*;
use evidence::Outcome;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Answers every request with a verdict; gives its port and its certificate.
async fn server() -> (u16, String) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".into()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 8 << 10];
            let _ = stream.read(&mut request).await;
            let body = r#"{"outcome": "pass", "reason": "by TLS"}"#;
            let answer =
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (port, cert.pem())
}

#[tokio::test]
async fn a_server_is_trusted_by_the_file_that_the_document_names_and_by_nothing_else() {
    let (port, certificate) = server().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let trusting =
        source(&format!("webhook: {{url: 'https://localhost:{port}/', caFile: '{}'}}", file.path().display()));
    let unusable = refused(&trusting).await;
    assert!(unusable.contains("cannot be used: it has no certificate (PEM)"), "{unusable}");

    std::fs::write(file.path(), &certificate).unwrap();
    let answer = asked(&trusting).await.unwrap();
    assert_eq!(answer.reading, Reading::Verdict(Outcome::Pass, "by TLS".into()));

    let plain = refused(&source(&format!("webhook: {{url: 'https://localhost:{port}/'}}"))).await;
    assert!(plain.contains("invalid peer certificate"), "{plain}");
    let missing = source("webhook: {url: 'https://localhost:1/', caFile: /nowhere/ca.pem}");
    assert!(refused(&missing).await.contains("the certificates in /nowhere/ca.pem cannot be used: No such file"));
}
