//! One throw-away authority, and a certificate for each part of the cluster.

use super::Place;
use super::place::{API_SERVICE, NODE_ADDRESS, NODE_NAME};
use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Who speaks to the API server: file, name, group.
const CLIENTS: [(&str, &str, &str); 6] = [
    ("admin", "admin", "system:masters"),
    ("controller-manager", "system:kube-controller-manager", ""),
    ("scheduler", "system:kube-scheduler", ""),
    ("kubelet", "system:node:node", "system:nodes"),
    ("proxy", "system:kube-proxy", ""),
    ("dns", "coredns", "system:masters"),
];

pub fn make(place: &Place) -> Result<()> {
    if place.kubeconfig("admin").exists() {
        return Ok(());
    }
    let key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "jadeshift test cluster");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let certificate = authority.self_signed(&key)?;
    write(&place.certificate("ca"), &certificate.pem())?;
    write(&place.key("ca"), &key.serialize_pem())?;
    let issuer = Issuer::new(authority, key);

    let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
    let server_names = names.into_iter().chain(["localhost", "127.0.0.1", NODE_ADDRESS, API_SERVICE, NODE_NAME]);
    let mut server = CertificateParams::new(server_names.map(String::from).collect::<Vec<_>>())?;
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    sign(place, "apiserver", server, &issuer)?;
    sign(place, "apiserver-kubelet", client("kube-apiserver", "system:masters")?, &issuer)?;
    // The API server signs tokens with its key, and reads the public one from a certificate.
    sign(place, "service-accounts", client("service-accounts", "")?, &issuer)?;
    // The administrator's last: it says that all are there.
    for (file, name, group) in CLIENTS.into_iter().rev() {
        sign(place, file, client(name, group)?, &issuer)?;
        kubeconfig(place, file)?;
    }
    Ok(())
}

fn client(name: &str, group: &str) -> Result<CertificateParams> {
    let mut client = CertificateParams::new(Vec::new())?;
    client.distinguished_name.push(DnType::CommonName, name);
    if !group.is_empty() {
        client.distinguished_name.push(DnType::OrganizationName, group);
    }
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(client)
}

fn sign(place: &Place, file: &str, params: CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Result<()> {
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    write(&place.certificate(file), &certificate.pem())?;
    write(&place.key(file), &key.serialize_pem())
}

/// Everything in one file, so that it can be given away.
fn kubeconfig(place: &Place, who: &str) -> Result<()> {
    let encoded = |file: &Path| -> Result<String> {
        Ok(BASE64_STANDARD.encode(fs::read(file).with_context(|| format!("cannot read {}", file.display()))?))
    };
    let (authority, certificate) = (encoded(&place.certificate("ca"))?, encoded(&place.certificate(who))?);
    let (key, server) = (encoded(&place.key(who))?, place.api_url());
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
         clusters: [{{name: test, cluster: {{server: '{server}', certificate-authority-data: {authority}}}}}]\n\
         users: [{{name: test, user: {{client-certificate-data: {certificate}, client-key-data: {key}}}}}]\n\
         contexts: [{{name: test, context: {{cluster: test, user: test}}}}]\n"
    );
    write(&place.kubeconfig(who), &text)
}

fn write(file: &Path, text: &str) -> Result<()> {
    let written = fs::write(file, text).and_then(|()| fs::set_permissions(file, fs::Permissions::from_mode(0o600)));
    written.with_context(|| format!("cannot write {}", file.display()))
}
