//! Asks DNS.

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A resolver.
pub struct Dns {
    resolver: TokioResolver,
}

/// Why there is no answer: nobody could be asked, which is not the same as "there is none".
pub type Silence = String;

impl Dns {
    /// The resolver at this address; without one, that of the machine.
    pub fn new(server: Option<SocketAddr>) -> Result<Dns, Silence> {
        let mut builder = match server {
            Some(server) => {
                let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
                connections.iter_mut().for_each(|connection| connection.port = server.port());
                let server = NameServerConfig::new(server.ip(), true, connections);
                TokioResolver::builder_with_config(
                    ResolverConfig::from_parts(None, Vec::new(), vec![server]),
                    TokioRuntimeProvider::default(),
                )
            }
            None => TokioResolver::builder_tokio().map_err(|error| error.to_string())?,
        };
        let options = builder.options_mut();
        options.timeout = Duration::from_secs(3);
        options.attempts = 2;
        // Names are whole: nothing is looked for inside of this machine's own domain.
        options.ndots = 0;
        Ok(Dns { resolver: builder.build().map_err(|error| error.to_string())? })
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Result<Vec<RData>, Silence> {
        let mut name = Name::from_utf8(name).map_err(|error| error.to_string())?;
        name.set_fqdn(true);
        match self.resolver.lookup(name, kind).await {
            Ok(found) => Ok(found.answers().iter().map(|record| record.data.clone()).collect()),
            Err(error) if error.is_no_records_found() => Ok(Vec::new()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// TXT records, each in one piece.
    pub async fn texts(&self, name: &str) -> Result<Vec<String>, Silence> {
        let found = self.ask(name, RecordType::TXT).await?;
        let text = |record: &RData| match record {
            RData::TXT(text) => Some(text.txt_data.iter().map(|part| String::from_utf8_lossy(part)).collect()),
            _ => None,
        };
        Ok(found.iter().filter_map(text).collect())
    }

    /// Hosts that take mail of the domain.
    pub async fn mail(&self, name: &str) -> Result<Vec<String>, Silence> {
        let found = self.ask(name, RecordType::MX).await?;
        let host = |record: &RData| match record {
            RData::MX(mx) => Some(mx.exchange.to_utf8().trim_end_matches('.').to_string()),
            _ => None,
        };
        Ok(found.iter().filter_map(host).collect())
    }

    /// Addresses of a host.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Silence> {
        let mut found = self.ask(name, RecordType::A).await?;
        found.extend(self.ask(name, RecordType::AAAA).await?);
        Ok(found.iter().filter_map(RData::ip_addr).collect())
    }

    /// Names of an address.
    pub async fn names(&self, address: IpAddr) -> Result<Vec<String>, Silence> {
        let found = self.ask(&Name::from(address).to_utf8(), RecordType::PTR).await?;
        let name = |record: &RData| match record {
            RData::PTR(name) => Some(name.0.to_utf8().trim_end_matches('.').to_lowercase()),
            _ => None,
        };
        Ok(found.iter().filter_map(name).collect())
    }
}
