//! A Redis Cluster of the test's own: three primaries with a replica each.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisResult, Value};

use super::eventually;
use super::redis::Redis;

/// How many primaries, and how many replicas.
const HALF: usize = 3;
const SLOTS: u16 = 16_384;

#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: Vec<Redis>,
}

impl Cluster {
    /// Six empty nodes that agree on who has what. Nobody takes over from a node that is only slow.
    pub(crate) async fn start() -> Self {
        let cluster = Self::failing_over().await;
        for node in &cluster.nodes {
            let mut set = redis::cmd("CONFIG");
            let () = node.ask(set.arg("SET").arg("cluster-node-timeout").arg(60_000)).await;
        }
        cluster
    }

    /// The same, where a replica takes over soon from a primary that does not answer.
    pub(crate) async fn failing_over() -> Self {
        let mut nodes = Vec::new();
        for _ in 0..2 * HALF {
            nodes.push(Redis::start_node().await);
        }
        let cluster = Self { nodes };
        for (index, node) in cluster.nodes.iter().enumerate() {
            // Distinct epochs from the start: nobody has to give way.
            let () = node.ask(redis::cmd("CLUSTER").arg("SET-CONFIG-EPOCH").arg(index + 1)).await;
            if index < HALF {
                let share = SLOTS / 3 + 1;
                let first = share * index as u16;
                let last = (first + share - 1).min(SLOTS - 1);
                let mut add = redis::cmd("CLUSTER");
                let () = node.ask(add.arg("ADDSLOTSRANGE").arg(first).arg(last)).await;
            }
        }
        for node in &cluster.nodes[1..] {
            let mut meet = redis::cmd("CLUSTER");
            meet.arg("MEET").arg("127.0.0.1").arg(cluster.nodes[0].port());
            meet.arg(cluster.nodes[0].bus_port());
            let () = node.ask(&meet).await;
        }
        for node in &cluster.nodes {
            eventually("the nodes knowing each other", async || {
                (node.known().await? >= 2 * HALF).then_some(())
            })
            .await;
        }
        for (index, replica) in cluster.nodes[HALF..].iter().enumerate() {
            let primary = cluster.nodes[index].id().await;
            eventually("a replica", async || {
                let mut replicate = redis::cmd("CLUSTER");
                replicate.arg("REPLICATE").arg(&primary);
                replica.try_ask::<Value>(&replicate).await.ok().map(drop)
            })
            .await;
        }
        cluster.is_whole().await;
        cluster
    }

    pub(crate) fn node(&mut self, index: usize) -> &mut Redis {
        &mut self.nodes[index]
    }

    pub(crate) fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// URLs of all nodes.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Redis::url).collect()
    }

    /// Waits until every slot has a primary, every primary a replica that is in step, and all nodes
    /// that run say so.
    pub(crate) async fn is_whole(&self) {
        for node in &self.nodes {
            eventually("the cluster being whole", async || {
                let info: String = node.try_ask(redis::cmd("CLUSTER").arg("INFO")).await.ok()?;
                let whole =
                    info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384");
                let role: String =
                    node.try_ask(redis::cmd("INFO").arg("replication")).await.ok()?;
                let in_step = match role.contains("role:master") {
                    true => role.contains("state=online"),
                    false => role.contains("master_link_status:up"),
                };
                (whole && in_step).then_some(())
            })
            .await;
        }
    }

    /// Which node is the primary of a key's slot now, by what the others say.
    pub(crate) async fn primary_of(&self, key: &str) -> usize {
        eventually("a primary that has the slot", async || {
            for (index, node) in self.nodes.iter().enumerate() {
                // Whoever has a slot says what there is in it; others send elsewhere.
                let mut exists = redis::cmd("EXISTS");
                let has = node.try_ask::<u32>(exists.arg(key)).await;
                let role = node.try_ask::<Vec<Value>>(&redis::cmd("ROLE")).await;
                let Ok([Value::BulkString(role), ..]) = role.as_deref() else { continue };
                if has.is_ok() && role == b"master" {
                    return Some(index);
                }
            }
            None
        })
        .await
    }

    /// Starts to move the slot of a key to another node: it asks there for what it has no more.
    pub(crate) async fn opens(&self, key: &str, from: usize, to: usize) {
        let (from, to) = (&self.nodes[from], &self.nodes[to]);
        let slot: u16 = from.ask(redis::cmd("CLUSTER").arg("KEYSLOT").arg(key)).await;
        let set = |state: &str, other: String| {
            let mut set = redis::cmd("CLUSTER");
            set.arg("SETSLOT").arg(slot).arg(state).arg(other);
            set
        };
        let () = to.ask(&set("IMPORTING", from.id().await)).await;
        let () = from.ask(&set("MIGRATING", to.id().await)).await;
    }

    /// Moves one key.
    pub(crate) async fn moves(&self, key: &str, from: usize, to: usize) {
        let mut migrate = redis::cmd("MIGRATE");
        migrate.arg("127.0.0.1").arg(self.nodes[to].port()).arg(key).arg(0).arg(5_000);
        let () = self.nodes[from].ask(&migrate).await;
    }

    /// The keys of a key's slot that a node has.
    pub(crate) async fn keys(&self, key: &str, node: usize) -> Vec<String> {
        let node = &self.nodes[node];
        let slot: u16 = node.ask(redis::cmd("CLUSTER").arg("KEYSLOT").arg(key)).await;
        node.ask(redis::cmd("CLUSTER").arg("GETKEYSINSLOT").arg(slot).arg(10_000)).await
    }

    /// The slot is the other node's, as everybody gets to know.
    pub(crate) async fn closes(&self, key: &str, from: usize, to: usize) {
        let slot: u16 = self.nodes[to].ask(redis::cmd("CLUSTER").arg("KEYSLOT").arg(key)).await;
        let id = self.nodes[to].id().await;
        for node in [to, from] {
            let mut set = redis::cmd("CLUSTER");
            set.arg("SETSLOT").arg(slot).arg("NODE").arg(&id);
            let () = self.nodes[node].ask(&set).await;
        }
    }

    /// Moves a slot with all that is in it, as an operator's tool does.
    pub(crate) async fn reshard(&self, key: &str, from: usize, to: usize) {
        self.opens(key, from, to).await;
        loop {
            let keys = self.keys(key, from).await;
            if keys.is_empty() {
                break;
            }
            for key in keys {
                self.moves(&key, from, to).await;
            }
        }
        self.closes(key, from, to).await;
    }
}

impl Redis {
    async fn ask<T: redis::FromRedisValue>(&self, command: &Cmd) -> T {
        self.try_ask(command).await.expect("an answer of Redis")
    }

    async fn try_ask<T: redis::FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        let mut connection: MultiplexedConnection = self.try_connection().await?;
        command.query_async(&mut connection).await
    }

    async fn id(&self) -> String {
        self.ask(redis::cmd("CLUSTER").arg("MYID")).await
    }

    async fn known(&self) -> Option<usize> {
        let info: String = self.try_ask(redis::cmd("CLUSTER").arg("INFO")).await.ok()?;
        let known = info.lines().find_map(|line| line.strip_prefix("cluster_known_nodes:"))?;
        known.trim().parse().ok()
    }
}
