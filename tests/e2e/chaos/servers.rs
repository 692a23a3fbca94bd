//! Where the limit is counted: one Redis, or six that are a cluster.

use super::Dice;
use crate::support::fixture::ACME;
use crate::support::redis::Redis;
use crate::support::redis_cluster::Cluster;

#[derive(Debug)]
pub(super) enum Servers {
    One(Redis),
    Cluster(Cluster),
}

impl Servers {
    pub(super) async fn one() -> Self {
        Self::One(Redis::start().await)
    }

    pub(super) async fn cluster() -> Self {
        Self::Cluster(Cluster::failing_over().await)
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// For the configuration of gateways. What a failover loses is bounded only by `strict`.
    pub(super) fn yaml(&self) -> String {
        match self {
            Self::One(redis) => format!("url: '{}'", redis.url()),
            Self::Cluster(cluster) => {
                let urls: Vec<String> =
                    cluster.urls().iter().take(2).map(|url| format!("'{url}'")).collect();
                format!("cluster: [{}], on_failover: strict", urls.join(", "))
            }
        }
    }

    /// Stops whoever has the organization's buckets, and says who that is.
    pub(super) async fn pause(&self) -> usize {
        let (node, redis) = match self {
            Self::One(redis) => (0, redis),
            Self::Cluster(cluster) => {
                let node = cluster.primary_of(&key()).await;
                (node, &cluster.nodes()[node])
            }
        };
        redis.pause();
        node
    }

    pub(super) fn resume(&self, node: usize) {
        match self {
            Self::One(redis) => redis.resume(),
            Self::Cluster(cluster) => cluster.nodes()[node].resume(),
        }
    }

    /// Scripts go, everywhere.
    pub(super) async fn flush(&self) {
        let nodes = match self {
            Self::One(redis) => std::slice::from_ref(redis),
            Self::Cluster(cluster) => cluster.nodes(),
        };
        for node in nodes {
            let mut connection = node.connection().await;
            let () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut connection).await.unwrap();
        }
    }

    /// Kills whoever has the organization's buckets, and says who that was.
    pub(super) async fn kill(&mut self) -> usize {
        let Self::Cluster(cluster) = self else { panic!("there is no replica") };
        let primary = cluster.primary_of(&key()).await;
        cluster.node(primary).kill();
        primary
    }

    /// When another node has its slots, it comes back, without its data, as a replica.
    pub(super) async fn restart_after_failover(&mut self, node: usize) {
        let Self::Cluster(cluster) = self else { panic!("there is no replica") };
        cluster.primary_of(&key()).await;
        cluster.node(node).restart().await;
        cluster.is_whole().await;
    }

    /// The organization's slot moves to another primary, key by key.
    pub(super) async fn reshard(&self, dice: &mut Dice) {
        let Self::Cluster(cluster) = self else { panic!("there are no slots") };
        let from = cluster.primary_of(&key()).await;
        let to = loop {
            let other = cluster.primary_of(&dice.below(1_000).to_string()).await;
            if other != from {
                break other;
            }
        };
        cluster.reshard(&key(), from, to).await;
    }
}

/// A key in the organization's slot.
fn key() -> String {
    format!("tollgate{{{}}}:o:", ACME.id)
}
