//! How the servers of a Redis are reached, and how a cluster is asked which of them has what.
//!
//! Nodes of a cluster may differ in what they believe, while one of them is cut off or a slot has just
//! moved: of several, the one that is well and has seen the latest epoch is right. Imports `config`.

use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    ProtocolVersion, RedisError, RedisResult, Value,
};
use tokio::time::timeout;

use crate::config::settings::RedisPlace;
use crate::domain::secret::Secret;

use super::slots::{Address, Slot, Topology};

/// TCP asks an idle peer this often whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// What was sent and stays unacknowledged for so long breaks the connection.
const UNACKNOWLEDGED: Duration = Duration::from_secs(2);
/// Time for a connection and for what a node says of the cluster.
const PATIENCE: Duration = Duration::from_millis(500);

/// The servers that the settings name.
pub(in crate::stores) struct Seeds {
    infos: Vec<ConnectionInfo>,
    cluster: bool,
}

/// What a node says of its cluster.
#[derive(Debug)]
pub(in crate::stores) struct View {
    /// It is in touch with most of the others.
    well: bool,
    epoch: u64,
    topology: Topology,
}

impl Seeds {
    /// The error is of a fixed set, and without the address: that may hold a password.
    pub(in crate::stores) fn of(place: &RedisPlace) -> Result<Self, String> {
        let (urls, cluster): (&[Secret], bool) = match place {
            RedisPlace::Server(url) => (std::slice::from_ref(url), false),
            RedisPlace::Cluster(urls) => (urls, true),
        };
        let infos = urls.iter().map(info).collect::<RedisResult<Vec<_>>>();
        let infos = infos.map_err(|error| format!("{:?}", error.kind()))?;
        match infos.first() {
            Some(_) => Ok(Self { infos, cluster }),
            None => Err("NoServer".to_owned()),
        }
    }

    pub(in crate::stores) fn is_cluster(&self) -> bool {
        self.cluster
    }

    /// With messages and answers on one connection (RESP3).
    pub(in crate::stores) fn with_messages(mut self) -> Self {
        let resp3 = |info: ConnectionInfo| {
            let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
            info.set_redis_settings(settings)
        };
        self.infos = self.infos.into_iter().map(resp3).collect();
        self
    }

    pub(in crate::stores) fn addresses(&self) -> Vec<Address> {
        self.infos.iter().filter_map(address).collect()
    }

    /// A client of the one server that is not connected.
    pub(in crate::stores) fn only(&self) -> RedisResult<Client> {
        Client::open(self.first()?.clone())
    }

    /// A client of a node that is not connected: it is reached as the first of the list is.
    pub(in crate::stores) fn client(&self, address: &Address) -> RedisResult<Client> {
        let first = self.first()?.clone();
        let (host, port) = (address.host.clone(), address.port);
        let address = match first.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                let (insecure, tls_params) = (*insecure, tls_params.clone());
                ConnectionAddr::TcpTls { host, port, insecure, tls_params }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        Client::open(first.set_addr(address))
    }

    /// The server that has a slot now, found by asking the seeds; or the only one there is.
    ///
    /// # Errors
    /// If none of them answers, or nobody has the slot.
    pub(in crate::stores) async fn primary_of(&self, slot: Slot) -> RedisResult<Client> {
        if !self.cluster {
            return self.only();
        }
        let topology = self.topology(&self.addresses()).await?;
        let primary = topology.primary_of(slot).ok_or_else(|| lost("nobody has the slot"))?;
        self.client(primary)
    }

    /// All primaries; or the only server there is.
    ///
    /// # Errors
    /// If no seed answers.
    pub(in crate::stores) async fn primaries(&self) -> RedisResult<Vec<Client>> {
        if !self.cluster {
            return Ok(vec![self.only()?]);
        }
        let topology = self.topology(&self.addresses()).await?;
        topology.primaries.iter().map(|(address, _)| self.client(address)).collect()
    }

    /// What the cluster looks like to these nodes, on new connections.
    ///
    /// # Errors
    /// The last one, if none of them answers.
    pub(in crate::stores) async fn topology(&self, nodes: &[Address]) -> RedisResult<Topology> {
        let ask = async |address: &Address| {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(PATIENCE))
                .set_response_timeout(Some(PATIENCE));
            let client = self.client(address)?;
            let connect = client.get_multiplexed_async_connection_with_config(&config);
            view(&mut connect.await?, address).await
        };
        let views = join_all(nodes.iter().map(ask)).await;
        let mut last = lost("no node was asked");
        let mut seen = Vec::new();
        for view in views {
            match view {
                Ok(view) => seen.push(view),
                Err(error) => last = error,
            }
        }
        best(seen).map(|(topology, _)| topology).ok_or(last)
    }

    fn first(&self) -> RedisResult<&ConnectionInfo> {
        self.infos.first().ok_or_else(|| lost("no server is named"))
    }
}

/// What a node says of its cluster.
///
/// # Errors
/// If it does not answer, or is of no cluster.
pub(in crate::stores) async fn view(
    connection: &mut MultiplexedConnection,
    asked: &Address,
) -> RedisResult<View> {
    let mut ask = redis::pipe();
    ask.cmd("CLUSTER").arg("INFO").cmd("CLUSTER").arg("SLOTS");
    let late = |_| lost("no answer in time");
    let (info, slots): (String, Value) =
        timeout(PATIENCE, ask.query_async(connection)).await.map_err(late)??;
    let said = |name: &str| {
        let lines = info.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value.trim())
    };
    let topology = Topology::read(&slots, asked).ok_or_else(|| lost("not a list of slots"))?;
    Ok(View {
        well: said("cluster_state") == Some("ok"),
        epoch: said("cluster_current_epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0),
        topology,
    })
}

/// The view that is to be believed, and whether it comes from a node that is well.
pub(in crate::stores) fn best(views: Vec<View>) -> Option<(Topology, bool)> {
    let by = |view: &View| (view.well, view.epoch, view.topology.covered());
    views.into_iter().max_by_key(by).map(|view| (view.topology, view.well))
}

fn info(url: &Secret) -> RedisResult<ConnectionInfo> {
    let url = url.expose();
    if url.starts_with("rediss:") || url.starts_with("valkeys:") {
        // redis-rs takes the process' provider, and panics where two are compiled in and none is
        // chosen. Whoever chose before this keeps theirs.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let tcp = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(socket2::TcpKeepalive::new().with_time(KEEPALIVE))
        .set_user_timeout(UNACKNOWLEDGED);
    Ok(url.into_connection_info()?.set_tcp_settings(tcp))
}

fn address(info: &ConnectionInfo) -> Option<Address> {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            Some(Address { host: host.clone(), port: *port })
        }
        _ => None,
    }
}

fn lost(what: &'static str) -> RedisError {
    RedisError::from((ErrorKind::Io, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_view_of_a_node_that_is_well_and_has_seen_most_is_believed() {
        let view = |well, epoch, port| {
            let address = Address { host: "a".into(), port };
            let topology =
                Topology { primaries: vec![(address, vec![(0, 16_383)])], replicas: vec![] };
            View { well, epoch, topology }
        };
        let port = |views| best(views).map(|(found, well)| (found.primaries[0].0.port, well));
        assert_eq!(
            port(vec![view(true, 3, 1), view(true, 5, 2), view(false, 9, 3)]),
            Some((2, true))
        );
        assert_eq!(port(vec![view(false, 3, 1), view(false, 2, 2)]), Some((1, false)));
        assert_eq!(port(vec![]), None);
    }

    #[test]
    fn nodes_are_reached_as_the_first_seed_is() {
        let urls = ["redis://ann:secret@a:7000", "redis://ann:secret@b:7001/"];
        let seeds = Seeds::of(&RedisPlace::Cluster(urls.map(Secret::new).into())).unwrap();
        let client = seeds.client(&Address { host: "c".into(), port: 7_002 }).unwrap();
        let info = client.get_connection_info();
        assert_eq!(info.addr().to_string(), "c:7002");
        assert_eq!(info.redis_settings().password(), Some("secret"));
        assert!(Seeds::of(&RedisPlace::Cluster(Box::new([]))).is_err());
    }
}
