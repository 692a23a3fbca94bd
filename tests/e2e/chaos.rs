//! Four gateways share one organization's limit in one Redis, or in a Redis Cluster of six, while they are
//! killed, stopped and given other numbers, and Redis is stopped, loses its scripts, has slots moved or
//! a primary killed. Whatever happens, no window of time may see more requests let through than the
//! burst and what came back in it.
//!
//! Who is let through is what the upstream gets, whatever became of the answer: of each request
//! are known, on one clock, when it was sent and when it arrived there. It was charged at some
//! moment in between, so every request that lies within a window whole counts against it.
//!
//! `TOLLGATE_CHAOS` makes it last so many seconds, `TOLLGATE_SEED` repeats what happened.

pub(crate) mod bound;
pub(crate) mod load;
mod servers;

use std::time::Duration;

use tollgate::config::settings::LEASE;

use crate::support::eventually;
use crate::support::fixture::ALICE;
use crate::support::gateway::{Draft, Gateway};
use crate::support::process::Signal;
use crate::support::stack::{ISSUER, PUBLISHABLE, USER_SECRET, VERA, directory_yaml, token};

use bound::{Numbers, Timeline};
use load::{Load, Outcome};
use servers::Servers;

/// Clients of each gateway, of which each sends a request every 20 ms if it is answered by then.
const CLIENTS: [usize; 4] = [12, 6, 3, 2];
/// Seconds that it lasts, unless the environment says otherwise.
const LASTS: u64 = 20;

const USUAL: Numbers = Numbers { per_second: 200, burst: 400 };
const LOWERED: Numbers = Numbers { per_second: 120, burst: 300 };
const RAISED: Numbers = Numbers { per_second: 300, burst: 600 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_becomes_of_nodes_and_redis_no_window_admits_more_than_the_limit() {
    whatever_happens(Servers::one().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_becomes_of_nodes_and_a_redis_cluster_no_window_admits_more_than_the_limit() {
    whatever_happens(Servers::cluster().await).await;
}

#[allow(clippy::print_stdout, reason = "what was measured is what the test is for")]
async fn whatever_happens(servers: Servers) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let lasts = Duration::from_secs(number("TOLLGATE_CHAOS").unwrap_or(LASTS));
    let seed = number("TOLLGATE_SEED").unwrap_or_else(|| std::process::id().into());
    println!("TOLLGATE_SEED={seed}");

    let load = Load::start().await;
    let mut gateways = Vec::new();
    for _ in 0..CLIENTS.len() {
        gateways.push(gateway(&servers, &load).await);
    }
    let mut timeline = Timeline::new(load.now(), USUAL);
    // Few bring most of it: some users are hot at a node, and some are not.
    let users = [ALICE, ALICE, ALICE, ALICE, ALICE, VERA];
    for (gateway, clients) in gateways.iter().zip(CLIENTS) {
        for client in 0..clients {
            load.client(gateway.listen(), token(users[client % users.len()]));
        }
    }

    let mut chaos = Chaos { dice: Dice(seed), servers, gateways, done: Vec::new() };
    if chaos.servers.is_cluster() {
        chaos.serves_again(&load, &mut timeline, Duration::ZERO).await;
        // The bucket was not full when it began.
        timeline.lost(Duration::from_millis(USUAL.fill_millis()));
        chaos.rest(&load, &mut timeline).await;
    }
    let calm = chaos.calm(&load).await;
    chaos.rest(&load, &mut timeline).await;
    chaos.ambush(&load, &mut timeline).await;
    if chaos.servers.is_cluster() {
        chaos.fail_over(&load, &mut timeline).await;
    }
    let mut numbers = [LOWERED, RAISED, USUAL].into_iter().cycle();
    let mut change = load.now() + Duration::from_secs(7);
    while load.now() < lasts {
        if load.now() >= change {
            let numbers = numbers.next().expect("a cycle");
            chaos.reload(&load, &mut timeline, numbers).await;
            change = load.now() + Duration::from_secs(6);
            chaos.rest(&load, &mut timeline).await;
            chaos.ambush(&load, &mut timeline).await;
        } else {
            chaos.strike(&load, &mut timeline).await;
        }
    }
    let (admissions, outcomes) = load.end().await;
    timeline.ends(admissions.iter().map(|one| one.arrived).max().expect("an admission"));

    let worst = timeline.worst(&admissions);
    let attainable = timeline.attainable();
    let utilisation = 100.0 * admissions.len() as f64 / attainable;
    let in_calm = |one: &&bound::Admission| calm.0 <= one.arrived && one.arrived < calm.1;
    let in_calm = admissions.iter().filter(in_calm).count() as f64;
    let undisturbed = 100.0 * in_calm / USUAL.back_in(calm.1 - calm.0);
    println!("{}", chaos.done.join("\n"));
    println!(
        "{} admitted, {utilisation:.1} % of what the limit allows ({undisturbed:.1} % while nothing \
         happened); outcomes {outcomes:?}\n\
         most in a window beyond rate * time: {:.1}, of a burst of {}, from {:?} to {:?}",
        admissions.len(),
        worst.drawn,
        worst.burst,
        worst.from,
        worst.until,
    );
    assert!(worst.drawn <= f64::from(worst.burst), "{worst:?}");
    // A machine with other work to do starves the load more than the limiter does: then few are
    // refused, and what was not used, nobody asked for.
    let asked = outcomes[Outcome::Refused as usize] >= outcomes[Outcome::Passed as usize] / 2;
    assert!(utilisation >= 60.0 || !asked, "the limit was not made use of");
    assert_eq!(outcomes[Outcome::Other as usize], 0, "{}", chaos.gateways[0].log());
    // What it was all about did happen.
    assert!(outcomes[Outcome::Refused as usize] > 0, "the limit was reached");
}

/// A gateway that is ready, on the Redis and the upstream.
async fn gateway(servers: &Servers, load: &Load) -> Gateway {
    let draft = Draft::new();
    let (listen, admin) = (draft.listen(), draft.admin());
    draft.write(
        "gateway.yaml",
        &format!(
            "listen: [{{ address: {listen} }}]
admin: {admin}
edge: {{ address_guard: {{ rate: 1000000/s, burst: 1000000 }} }}
identity:
  issuers:
    - {{ name: users, iss: {ISSUER}, audience: authenticated, keys: [{{ hs256: {USER_SECRET} }}] }}
  api_keys:
    - {{ name: web, publishable: {PUBLISHABLE} }}
directory: {{ file: directory.yaml }}
limits_store: {{ redis: {{ {place}, timeout: 150ms, nodes: 4 }} }}
upstreams:
  web: {{ kind: http, addresses: ['{upstream}'], identity: none, retries: 0 }}
policies: [policy.yaml]
",
            place = servers.yaml(),
            upstream = load.upstream(),
        ),
    );
    draft.write("policy.yaml", &policy(USUAL));
    draft.write("directory.yaml", &directory_yaml());
    draft.start().await
}

fn policy(numbers: Numbers) -> String {
    let Numbers { per_second, burst } = numbers;
    format!(
        "plans: {{ free: {{ level: 1 }} }}
roles:
  viewer: {{ permissions: [] }}
  editor: {{ inherits: [viewer] }}
limits:
  per_organization: {{ scope: organization, rate: {per_second}/s, burst: {burst}, when_away: closed }}
  per_user: {{ scope: user, rate: 90000/min, burst: 90000, when_away: closed }}
  per_address: {{ scope: address, rate: 90000/min, burst: 90000, when_away: closed }}
routes:
  - name: web
    match: {{ path: '/r/{{path*}}', methods: [GET] }}
    upstream: web
    credential: user
    tenant: [header, default]
    permission: member
    limits: [per_user, per_organization, per_address]
"
    )
}

/// What happens, by lot.
struct Chaos {
    dice: Dice,
    servers: Servers,
    gateways: Vec<Gateway>,
    /// What happened when.
    done: Vec<String>,
}

impl Chaos {
    /// One misfortune, and some time without.
    async fn strike(&mut self, load: &Load, timeline: &mut Timeline) {
        let node = self.dice.below(4);
        let acts: &[usize] = match self.servers.is_cluster() {
            false => &[0, 1, 2, 3, 4, 6, 7],
            // A failover takes as long as some of the others together.
            true => &[0, 1, 2, 2, 3, 3, 4, 5, 6, 6, 7, 7],
        };
        match acts[self.dice.below(acts.len() as u64)] {
            0 | 1 => {
                self.note(load, format!("gateway {node} is killed"));
                self.gateways[node].kill();
                self.dice.wait(50, 400).await;
                self.gateways[node].restart().await;
            }
            2 => {
                self.note(load, format!("gateway {node} stops"));
                self.gateways[node].signal(Signal::Stop);
                self.dice.wait(200, 3_000).await;
                self.gateways[node].signal(Signal::Cont);
            }
            3 => {
                let other = (node + 1) % 4;
                self.note(load, format!("gateway {node} stops, {other} is killed, scripts go"));
                self.gateways[node].signal(Signal::Stop);
                self.gateways[other].kill();
                self.servers.flush().await;
                self.dice.wait(200, 2_000).await;
                self.gateways[other].restart().await;
                self.gateways[node].signal(Signal::Cont);
            }
            4 if self.servers.is_cluster() => {
                self.note(load, "the slot of the organization moves".to_owned());
                let began = load.now();
                self.servers.reshard(&mut self.dice).await;
                self.serves_again(load, timeline, began).await;
            }
            5 if self.servers.is_cluster() => self.fail_over(load, timeline).await,
            4 => {
                self.note(load, format!("redis stops, and gateway {node}"));
                let stopped = self.servers.pause().await;
                self.gateways[node].signal(Signal::Stop);
                self.dice.wait(50, 250).await;
                self.servers.resume(stopped);
                self.dice.wait(1, 300).await;
                self.gateways[node].signal(Signal::Cont);
            }
            7 => {
                // What is asked for meanwhile is charged afterwards, and nobody is let through for
                // it: that is what a Redis that stops costs. In a cluster, for less than it takes
                // the others to put another in its place.
                let most = if node == 0 { 400 } else { 200 };
                self.note(load, format!("redis stops, for {most} ms at most"));
                let stopped = self.servers.pause().await;
                self.dice.wait(20, most).await;
                self.servers.resume(stopped);
            }
            _ => {
                self.note(load, "scripts go, and the policy is loaded again".to_owned());
                self.servers.flush().await;
                for gateway in &self.gateways {
                    gateway.write("policy.yaml", &policy(timeline.current()));
                    gateway.signal(Signal::Hup);
                }
            }
        }
        self.dice.wait(100, 900).await;
    }

    /// Gateways are stopped with all that a full bucket has leased them, and go on when it is full
    /// again: that is where leases would count twice.
    async fn ambush(&mut self, load: &Load, timeline: &mut Timeline) {
        // Until the bucket is full, or until every lease is long over.
        let numbers = timeline.current();
        let over = if self.dice.below(2) == 0 { numbers.fill_millis() } else { 4_300 };
        self.note(load, format!("three gateways stop with leases, and all rest for {over} ms"));
        self.dice.wait(60, 140).await;
        let (_, stopped) = self.gateways.split_at(1);
        stopped.iter().for_each(|gateway| gateway.signal(Signal::Stop));
        // The other one takes what is left.
        tokio::time::sleep(Duration::from_millis(2 * u64::from(numbers.burst))).await;
        load.rests(true);
        let began = load.now();
        tokio::time::sleep(Duration::from_millis(over)).await;
        stopped.iter().for_each(|gateway| gateway.signal(Signal::Cont));
        timeline.rested(load.now() - began);
        load.rests(false);
        tokio::time::sleep(Duration::from_millis(700)).await;
    }

    /// Nothing happens for a while, at five times the limit. Returns from when to when, without the
    /// time in which the bucket was spent that was full before.
    async fn calm(&mut self, load: &Load) -> (Duration, Duration) {
        self.note(load, "nothing happens".to_owned());
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let from = load.now();
        tokio::time::sleep(Duration::from_secs(4)).await;
        (from, load.now())
    }

    /// Nobody asks until the bucket is full.
    async fn rest(&self, load: &Load, timeline: &mut Timeline) {
        load.rests(true);
        let (began, fills) = (load.now(), timeline.current().fill_millis());
        tokio::time::sleep(Duration::from_millis(fills)).await;
        timeline.rested(load.now() - began);
        load.rests(false);
    }

    /// Other numbers for all, one after the other.
    async fn reload(&mut self, load: &Load, timeline: &mut Timeline, numbers: Numbers) {
        self.note(load, format!("{numbers:?}"));
        timeline.begins(load.now(), numbers);
        for gateway in &self.gateways {
            gateway.write("policy.yaml", &policy(numbers));
            gateway.signal(Signal::Hup);
            self.dice.wait(0, 200).await;
        }
        let stated = format!("q={};w=1", numbers.per_second);
        for gateway in &self.gateways {
            eventually("the new numbers", async || {
                let (_, said) = load.ask(gateway.listen(), &token(ALICE)).await;
                said.contains(&stated).then_some(())
            })
            .await;
        }
        timeline.settled(load.now());
    }

    /// The organization's primary is killed, and comes back when its replica has taken over; from
    /// which the organization's slot moves on.
    async fn fail_over(&mut self, load: &Load, timeline: &mut Timeline) {
        self.note(load, "the primary of the organization is killed".to_owned());
        let began = load.now();
        let killed = self.servers.kill().await;
        self.servers.restart_after_failover(killed).await;
        self.note(load, "its replica has taken over, and the slot moves on".to_owned());
        self.servers.reshard(&mut self.dice).await;
        self.serves_again(load, timeline, began).await;
    }

    /// With `strict`, buckets at a new primary are empty until all leases have ended.
    async fn serves_again(&self, load: &Load, timeline: &mut Timeline, began: Duration) {
        // What was leased before is spent first.
        tokio::time::sleep(LEASE).await;
        eventually("requests being let through", async || {
            let (outcome, _) = load.ask(self.gateways[0].listen(), &token(ALICE)).await;
            matches!(outcome, Outcome::Passed).then_some(())
        })
        .await;
        timeline.lost(load.now() - began);
    }

    fn note(&mut self, load: &Load, what: String) {
        self.done.push(format!("{:6.2} s: {what}", load.now().as_secs_f64()));
    }
}

/// Chance that can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % most).expect("a small number")
    }

    /// So many milliseconds, which are the misfortune and no wait for something to happen.
    async fn wait(&mut self, least: u64, most: u64) {
        let millis = least + self.below(most - least + 1) as u64;
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
}
