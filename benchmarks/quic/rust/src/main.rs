//! One end of a QUIC connection by quinn, on one thread. The arguments, and what it prints, are those of all peers:
//! ../peer.py.

use std::time::{Duration, Instant};
use std::{collections::HashMap, error::Error, net::SocketAddr, sync::Arc};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, RecvStream, SendStream, ServerConfig,
    WriteError,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring as provider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use rustls::{CipherSuite, DigitallySignedStruct, SignatureScheme, SupportedCipherSuite};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const BLOCK: usize = 1024;
const CHUNK: usize = 65_536;
const FAREWELL: Duration = Duration::from_secs(3);
const VERSION: &str = "0.11.12";

struct Options(HashMap<String, String>);

impl Options {
    /// `-name value` pairs.
    fn parse(arguments: &[String]) -> Result<Self> {
        let pairs = arguments.chunks(2).map(|pair| match pair {
            [name, value] if name.starts_with('-') => Ok((name.trim_start_matches('-').into(), value.clone())),
            _ => Err(format!("options are -NAME VALUE, not {pair:?}")),
        });
        Ok(Self(pairs.collect::<std::result::Result<_, _>>()?))
    }

    fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.0.get(name).map_or(default, String::as_str)
    }

    fn number(&self, name: &str, default: usize) -> Result<usize> {
        self.0.get(name).map_or(Ok(default), |text| Ok(text.parse()?))
    }
}

/// Trusts one certificate; that it is the owner's is proven by the handshake's signature.
#[derive(Debug)]
struct Pinned(CertificateDer<'static>, Arc<CryptoProvider>);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        if *shown == self.0 {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General("another certificate".into()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.1.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.1.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.1.signature_verification_algorithms.supported_schemes()
    }
}

/// Block i of the payload is i, little-endian, and 1016 constant bytes.
fn payload(n: usize) -> Vec<u8> {
    let mut made: Vec<u8> = (0..n.div_ceil(BLOCK) * BLOCK).map(|i| (i % BLOCK * 7) as u8).collect();
    for (i, block) in made.chunks_mut(BLOCK).enumerate() {
        block[..8].copy_from_slice(&(i as u64).to_le_bytes());
    }
    made.truncate(n);
    made
}

/// Seconds of user and system.
fn cpu() -> f64 {
    let mut used = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: getrusage fills the struct, which is valid as zeroes, too.
    let used = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, used.as_mut_ptr());
        used.assume_init()
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(used.ru_utime) + seconds(used.ru_stime)
}

/// One suite for 1-RTT, and the one that QUIC's Initial packets always have.
fn suites(options: &Options) -> Result<(CryptoProvider, rustls::quic::Suite)> {
    let mut made = provider::default_provider();
    let initial = made.cipher_suites.iter().find_map(|suite| match suite {
        SupportedCipherSuite::Tls13(suite) if suite.common.suite == CipherSuite::TLS13_AES_128_GCM_SHA256 => {
            suite.quic_suite()
        }
        _ => None,
    });
    let wanted = match options.text("suite", "aes128") {
        "chacha20" => CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        _ => CipherSuite::TLS13_AES_128_GCM_SHA256,
    };
    made.cipher_suites.retain(|suite| suite.suite() == wanted);
    Ok((made, initial.ok_or("no AES-128-GCM")?))
}

fn transport(options: &Options) -> Result<Arc<quinn::TransportConfig>> {
    let mut made = quinn::TransportConfig::default();
    made.initial_mtu(options.number("datagram", 1400)? as u16);
    made.mtu_discovery_config(None);
    made.enable_segmentation_offload(options.text("gso", "on") == "on");
    Ok(Arc::new(made))
}

async fn connect(serve: bool, options: &Options) -> Result<(Endpoint, Connection)> {
    let address: SocketAddr = options.text("address", "127.0.0.1:0").parse()?;
    let pem = options.text("certificate", "");
    let certificate = CertificateDer::from_pem_file(pem)?;
    let alpn = vec![options.text("alpn", "bench").as_bytes().to_vec()];
    let (provider, initial) = suites(options)?;
    let provider = Arc::new(provider);
    if !serve {
        let mut tls = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned(certificate, provider)))
            .with_no_client_auth();
        tls.alpn_protocols = alpn;
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::with_initial(Arc::new(tls), initial)?));
        config.transport_config(transport(options)?);
        let endpoint = Endpoint::client("127.0.0.1:0".parse()?)?;
        println!(r#"{{"event": "ready"}}"#);
        let connection = endpoint.connect_with(config, address, "localhost")?.await?;
        return Ok((endpoint, connection));
    }
    let key = PrivateKeyDer::from_pem_file(options.text("key", ""))?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    tls.alpn_protocols = alpn;
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::with_initial(Arc::new(tls), initial)?));
    config.transport_config(transport(options)?);
    let socket = std::net::UdpSocket::bind(address)?;
    let runtime = quinn::default_runtime().ok_or("no runtime")?;
    let endpoint = Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime)?;
    println!(r#"{{"event": "ready", "port": {}}}"#, endpoint.local_addr()?.port());
    let connection = endpoint.accept().await.ok_or("no connection")?.await?;
    Ok((endpoint, connection))
}

/// Sends a byte on a stream of its own.
async fn tell(connection: &Connection) -> Result<()> {
    let mut stream = connection.open_uni().await?;
    stream.write_all(b"!").await?;
    Ok(stream.finish()?)
}

/// Waits for such a byte.
async fn hear(connection: &Connection) -> Result<()> {
    connection.accept_uni().await?.read_to_end(1).await?;
    Ok(())
}

/// The end that has got all says so; the other closes. That may get lost.
async fn finish(receives: bool, connection: &Connection) -> Result<()> {
    if !receives {
        connection.close(0u32.into(), b"");
        return Ok(());
    }
    tell(connection).await?;
    match tokio::time::timeout(FAREWELL, connection.closed()).await {
        Ok(ConnectionError::ApplicationClosed(closed)) if closed.error_code == 0u32.into() => Ok(()),
        Ok(other) => Err(other.into()),
        Err(_) => {
            connection.close(0u32.into(), b"");
            Ok(())
        }
    }
}

async fn write(mut to: SendStream, data: Vec<u8>) -> std::result::Result<(), WriteError> {
    for part in data.chunks(CHUNK) {
        to.write_all(part).await?;
    }
    to.finish().map_err(|_| WriteError::ClosedStream)
}

/// Reads into memory of its own, to the end of the stream; what does not fit is not kept.
async fn read(mut from: RecvStream, into: &mut [u8]) -> Result<usize> {
    let (mut n, mut spare) = (0, [0]);
    loop {
        let space = if n < into.len() { &mut into[n..] } else { &mut spare[..] };
        match from.read(space).await? {
            Some(got) => n += got,
            None => return Ok(n),
        }
    }
}

async fn transfer(job: &str, connection: &Connection, data: Vec<u8>, got: &mut [u8]) -> Result<usize> {
    match job {
        "send" => Ok(write(connection.open_uni().await?, data).await.map(|()| 0)?),
        "receive" => read(connection.accept_uni().await?, got).await,
        "ask" => {
            let (to, from) = connection.open_bi().await?;
            let sent = tokio::spawn(write(to, data));
            let n = read(from, got).await?;
            sent.await??;
            Ok(n)
        }
        "echo" => {
            let (mut to, mut from) = connection.accept_bi().await?;
            let (mut n, mut part) = (0, vec![0; CHUNK]);
            while let Some(got) = from.read(&mut part).await? {
                to.write_all(&part[..got]).await?;
                n += got;
            }
            to.finish()?;
            Ok(n)
        }
        _ => Err(format!("no such job: {job}").into()),
    }
}

/// Begins a key update after so many packets, as soon as quinn allows one: it leaves 3 PTO between two.
async fn update_keys(connection: Connection, packets: u64) {
    let mut newest = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let stats = connection.stats();
        let seen = stats.udp_tx.datagrams + stats.udp_rx.datagrams;
        if seen - newest >= packets {
            newest = seen;
            connection.force_key_update();
        }
    }
}

fn main() -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(run())
}

async fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [role, job, rest @ ..] = &arguments[..] else {
        return Err("serve or dial, then send, receive, ask or echo".into());
    };
    let options = Options::parse(rest)?;
    let (total, updates) = (options.number("bytes", 1 << 20)?, options.number("updates", 0)?);
    let data = if matches!(&job[..], "send" | "ask") {
        payload(total)
    } else {
        Vec::new()
    };
    let receives = matches!(&job[..], "receive" | "ask");
    let mut got = if receives { vec![1; total] } else { Vec::new() };
    let (endpoint, connection) = connect(role == "serve", &options).await?;
    tell(&connection).await?;
    hear(&connection).await?;
    if updates > 0 {
        tokio::spawn(update_keys(connection.clone(), updates as u64));
    }
    let (used_before, began) = (cpu(), Instant::now());
    let n = transfer(job, &connection, data, &mut got).await?;
    if !receives {
        hear(&connection).await?;
    }
    let (seconds, used) = (began.elapsed().as_secs_f64(), cpu());
    finish(receives, &connection).await?;
    endpoint.wait_idle().await;
    let digest = ring::digest::digest(&ring::digest::SHA256, &got[..n.min(got.len())]);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    println!(
        r#"{{"event": "done", "bytes": {n}, "sha256": "{hex}", "cpu": {}, "seconds": {seconds}, "library": "quinn {VERSION}", "suite": "{}", "gso": {}, "datagram": {}}}"#,
        used - used_before,
        options.text("suite", "aes128"),
        options.text("gso", "on") == "on",
        options.number("datagram", 1400)?,
    );
    Ok(())
}
