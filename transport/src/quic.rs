//! How QUIC and TLS are set up: TLS 1.3 only, Ed25519 only, raw public keys on both sides (RFC 7250), no early data,
//! no resumption, no migration, every window sized.

use crate::identity::key_of_der;
use crate::{BindError, Identity, TransportConfig, Trust, congestion};
use aws_lc_rs::hmac;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    AckFrequencyConfig, ClientConfig, ConnectionId, ConnectionIdGenerator, EndpointConfig, IdleTimeout,
    MtuDiscoveryConfig, ServerConfig, VarInt,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::version::TLS13;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme};
use std::sync::Arc;
use std::time::Duration;

/// Who talks to whom: the application protocol, and which windows apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Peer,
    Client,
}

impl Role {
    fn alpn(self) -> &'static str {
        match self {
            Role::Peer => "trireme-peer/1",
            Role::Client => "trireme-client/1",
        }
    }
}

/// The key that the other side of an established connection has proven.
pub(crate) fn proven_key(connection: &quinn::Connection) -> Option<[u8; 32]> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    key_of_der(chain.first()?)
}

/// Server name for the handshake; the key is what is checked.
pub(crate) const SERVER_NAME: &str = "trireme";

pub(crate) fn server_config(
    role: Role,
    identity: &Identity,
    config: &TransportConfig,
    trust: Trust,
) -> Result<ServerConfig, BindError> {
    let resolver = AlwaysResolvesServerRawPublicKeys::new(identity.certified_key());
    let mut tls = rustls::ServerConfig::builder_with_provider(crypto_provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(tls_error)?
        .with_client_cert_verifier(Arc::new(PinnedKeys { trust }))
        .with_cert_resolver(Arc::new(resolver));
    tls.alpn_protocols = vec![role.alpn().into()];
    tls.max_early_data_size = 0;
    tls.send_tls13_tickets = 0;
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| BindError::Tls(error.to_string()))?;
    let mut server = ServerConfig::with_crypto(Arc::new(crypto));
    server
        .transport_config(Arc::new(transport_config(role, config)))
        .migration(false)
        .max_incoming(config.max_incoming)
        .incoming_buffer_size(16 << 10)
        .incoming_buffer_size_total(1 << 20);
    Ok(server)
}

pub(crate) fn client_config(
    role: Role,
    identity: &Identity,
    config: &TransportConfig,
    server: [u8; 32],
) -> Result<ClientConfig, BindError> {
    let resolver = AlwaysResolvesClientRawPublicKeys::new(identity.certified_key());
    let trust = Trust::only(server);
    let mut tls = rustls::ClientConfig::builder_with_provider(crypto_provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(tls_error)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedKeys { trust }))
        .with_client_cert_resolver(Arc::new(resolver));
    tls.alpn_protocols = vec![role.alpn().into()];
    tls.enable_early_data = false;
    tls.enable_sni = false;
    tls.resumption = Resumption::disabled();
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| BindError::Tls(error.to_string()))?;
    let mut client = ClientConfig::new(Arc::new(crypto));
    client.transport_config(Arc::new(transport_config(role, config)));
    Ok(client)
}

/// Reset tokens are keyed to the identity: a process that restarts on the same address resets the connections of its
/// former self, so that the others redial at once instead of timing out.
pub(crate) fn endpoint_config(
    role: Role,
    identity: &Identity,
    config: &TransportConfig,
) -> Result<EndpointConfig, BindError> {
    let secret = identity.reset_secret(role.alpn());
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
    let mut endpoint = EndpointConfig::new(Arc::new(key));
    endpoint.cid_generator(|| Box::new(RandomIds));
    endpoint
        .max_udp_payload_size(config.mtu_upper_bound.max(1_472))
        .map_err(|error| BindError::Tls(error.to_string()))?;
    Ok(endpoint)
}

/// Random connection ids. Quinn's own generator recognises only ids of the same process, and so would not reset those
/// of the process before.
struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; 8];
        aws_lc_rs::rand::fill(&mut id).expect("the system has randomness");
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

fn transport_config(role: Role, config: &TransportConfig) -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    match role {
        Role::Peer => transport
            .max_concurrent_uni_streams(VarInt::from_u32(config.bulk_streams as u32 + 1))
            .max_concurrent_bidi_streams(VarInt::from_u32(0))
            .stream_receive_window(VarInt::from_u32(config.peer_stream_window_bytes))
            .receive_window(var_int(config.peer_receive_window_bytes()))
            .send_window(config.peer_send_window_bytes()),
        Role::Client => transport
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .max_concurrent_bidi_streams(VarInt::from_u32(1))
            .stream_receive_window(VarInt::from_u32(config.client_stream_window_bytes))
            .receive_window(VarInt::from_u32(config.client_stream_window_bytes))
            .send_window(2 * u64::from(config.client_stream_window_bytes)),
    };
    transport.congestion_controller_factory(congestion::factory(config));
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(config.mtu_upper_bound);
    transport
        // A frame is finished before the next of its class is begun.
        .send_fairness(false)
        .datagram_receive_buffer_size(None)
        .ack_frequency_config(Some(ack_frequency()))
        .allow_spin(false)
        .initial_rtt(INITIAL_RTT)
        .min_mtu(config.mtu_lower_bound)
        .initial_mtu(config.mtu_lower_bound)
        .mtu_discovery_config(Some(mtu))
        .keep_alive_interval(Some(Duration::from_millis(config.keep_alive_ms)))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(config.idle_timeout_ms))));
    transport
}

/// Acknowledgements are asked for once in so many packets, or after the usual delay. Each one that travels alone wakes a
/// thread; most can ride on what goes the other way.
fn ack_frequency() -> AckFrequencyConfig {
    let mut frequency = AckFrequencyConfig::default();
    frequency.ack_eliciting_threshold(VarInt::from_u32(ACK_EVERY - 1));
    frequency
}

/// Packets to one acknowledgement; QUIC's own habit is two.
const ACK_EVERY: u32 = 10;

/// Before there is a sample. RFC 9002's 333 ms would repeat a lost first packet only after a second.
const INITIAL_RTT: Duration = Duration::from_millis(100);

fn var_int(value: u64) -> VarInt {
    VarInt::from_u64(value).unwrap_or(VarInt::MAX)
}

fn tls_error(error: Error) -> BindError {
    BindError::Tls(error.to_string())
}

/// AES-128 first (AES-NI), X25519 only, and of signatures Ed25519 only (by the verifier).
fn crypto_provider() -> Arc<CryptoProvider> {
    let mut chosen = provider::default_provider();
    chosen.cipher_suites = vec![
        provider::cipher_suite::TLS13_AES_128_GCM_SHA256,
        provider::cipher_suite::TLS13_AES_256_GCM_SHA384,
        provider::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    chosen.kx_groups = vec![provider::kx_group::X25519];
    Arc::new(chosen)
}

/// Accepts exactly the trusted raw Ed25519 keys, on either side of the handshake.
#[derive(Debug)]
struct PinnedKeys {
    trust: Trust,
}

impl PinnedKeys {
    fn check(&self, certificate: &CertificateDer<'_>, more: usize) -> Result<(), Error> {
        let key = key_of_der(certificate).ok_or(CertificateError::BadEncoding)?;
        if more != 0 {
            return Err(CertificateError::BadEncoding.into());
        }
        if !self.trust.accepts(&key) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(())
    }

    fn check_signature(
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature_with_raw_key(
            message,
            &SubjectPublicKeyInfoDer::from(certificate.as_ref()),
            signed,
            &provider::default_provider().signature_verification_algorithms,
        )
    }
}

impl ServerCertVerifier for PinnedKeys {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates.len())?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for PinnedKeys {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates.len())?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
