//! TLS settings of a connection that we make. The clients differ (OpenSSL inside librdkafka, native-tls inside reqwest) but are
//! configured by the same keys.

use std::path::PathBuf;

use crate::Section;

/// How a connection is encrypted and who is trusted.
#[derive(Debug, Clone, Default)]
pub struct TlsConfig {
    /// Whether the connection is encrypted. For HTTP the URL's scheme decides and this follows it.
    pub enabled: bool,
    /// PEM file of the authorities to trust; the system's when `None`.
    pub ca_file: Option<PathBuf>,
    /// Our certificate (PEM) and its private key (PEM, PKCS#8), both or none.
    pub identity: Option<TlsIdentity>,
    /// Takes any certificate of the server: for tests only.
    pub insecure_skip_verify: bool,
}

/// A client certificate.
#[derive(Debug, Clone)]
pub struct TlsIdentity {
    /// PEM file of the certificate, followed by the intermediates.
    pub cert_file: PathBuf,
    /// PEM file of the private key.
    pub key_file: PathBuf,
}

impl TlsConfig {
    /// Reads `enabled` and the files.
    pub fn read(section: &mut Section<'_>) -> Self {
        let enabled = section.value("enabled", false, "Encrypt the connection with TLS.");
        let tls = Self { enabled, ..Self::read_files(section) };
        if !enabled && tls.is_configured() {
            section.problem(
                "enabled",
                "is false, yet other keys of TLS are set",
                "set it to true, or remove them",
            );
        }
        tls
    }

    /// Reads the files alone, for a connection whose URL tells whether it is encrypted. `enabled` is left false.
    pub fn read_files(section: &mut Section<'_>) -> Self {
        let ca_file: Option<PathBuf> =
            section.optional("ca_file", "PEM file of the authorities to trust, instead of the system's.");
        let cert_file: Option<PathBuf> =
            section.optional("cert_file", "PEM file of the client certificate, its intermediates after it.");
        let key_file: Option<PathBuf> =
            section.optional("key_file", "PEM file (PKCS#8) of the client certificate's private key.");
        let insecure_skip_verify = section.value(
            "insecure_skip_verify",
            false,
            "Accept any certificate of the server. For tests only.",
        );
        for (key, file) in [("ca_file", &ca_file), ("cert_file", &cert_file), ("key_file", &key_file)] {
            if let Some(file) = file {
                section.require_readable(key, file);
            }
        }
        let identity = match (cert_file, key_file) {
            (Some(cert_file), Some(key_file)) => Some(TlsIdentity { cert_file, key_file }),
            (None, None) => None,
            (Some(_), None) => {
                section.problem("key_file", "is missing beside `cert_file`", "give both, or none");
                None
            }
            (None, Some(_)) => {
                section.problem("cert_file", "is missing beside `key_file`", "give both, or none");
                None
            }
        };
        Self { enabled: false, ca_file, identity, insecure_skip_verify }
    }

    /// Whether any key beside `enabled` is set.
    pub fn is_configured(&self) -> bool {
        self.ca_file.is_some() || self.identity.is_some() || self.insecure_skip_verify
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    fn check(yaml: &str, problems: &[&str]) -> TlsConfig {
        let mut settings = Settings::from_yaml("EDGE", yaml, []);
        let tls = TlsConfig::read(&mut settings.root().section("tls", "TLS."));
        let found =
            settings.finish().err().map(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(found.unwrap_or_default(), problems, "{yaml}");
        tls
    }

    #[test]
    fn keys_without_the_switch_are_refused_lest_one_believes_it_encrypted() {
        let tls =
            check("tls: {enabled: true, ca_file: /dev/null, cert_file: /dev/null, key_file: /dev/null}", &[]);
        assert!(tls.enabled && tls.ca_file.is_some() && tls.identity.is_some() && !tls.insecure_skip_verify);
        assert!(!check("", &[]).enabled);
        let unused = "tls.enabled: is false, yet other keys of TLS are set; set it to true, or remove them";
        check("tls: {ca_file: /dev/null}", &[unused]);
        check(
            "tls: {enabled: true, key_file: /dev/null}",
            &["tls.cert_file: is missing beside `key_file`; give both, or none"],
        );
    }
}
