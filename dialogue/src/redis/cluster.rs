//! Many servers, each with some of the slots.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::future::{join_all, try_join_all};
use parking_lot::RwLock;
use redis::{Pipeline, Value};
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
    time::{Instant, sleep},
};

use super::{
    Command, Failure, RedisError, RedisErrorKind, dial::Dialer, link::Link, place::Place, slots::SlotMap,
    url::Address,
};

/// A Cluster: the primary of each slot, as far as is known, and connections to them.
pub(super) struct Cluster {
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    /// Whom to ask when nobody else is there.
    seeds: Vec<Address>,
    dialer: Arc<Dialer>,
    nodes: RwLock<Nodes>,
    /// Told when something suggests that slots are elsewhere now.
    stale: Notify,
    /// Tells when they are.
    moved: watch::Sender<()>,
}

struct Nodes {
    slots: SlotMap,
    links: HashMap<Address, Arc<Link>>,
}

/// How often commands may be sent on before they fail.
const REDIRECTS: usize = 5;
/// Before a command is sent again to a slot that is on the move, whose keys are here and there.
const PAUSE: Duration = Duration::from_millis(50);
/// How old what is known of slots may get.
const REFRESH: Duration = Duration::from_secs(5);
/// From one question for slots to the next, whatever happens.
const FLOOR: Duration = Duration::from_millis(200);

/// A command on its way: its place among the answers, and where it goes unless to its slot's primary.
struct Errand {
    index: usize,
    detour: Option<Detour>,
}

struct Detour {
    to: Address,
    /// The slot is on the move: the node serves it to who asks first.
    asking: bool,
}

impl Cluster {
    /// Asks the seeds for the slots, and connects to every primary.
    pub(super) async fn open(seeds: Vec<Address>, dialer: Arc<Dialer>) -> Result<Self, RedisError> {
        let mut slots = Err(RedisError::configuration("no node of the Cluster is named"));
        for seed in &seeds {
            slots = ask_seed(&dialer, seed).await;
            if slots.is_ok() {
                break;
            }
        }
        let slots = slots?;
        let links = try_join_all(slots.primaries().into_iter().map(|address| {
            let (place, dialer) = (Place::Node(address.clone()), Arc::clone(&dialer));
            async { Ok::<_, RedisError>((address, Arc::new(Link::open(place, dialer).await?))) }
        }));
        let links = links.await.map_err(named)?.into_iter().collect();
        let nodes = RwLock::new(Nodes { slots, links });
        let shared =
            Arc::new(Shared { seeds, dialer, nodes, stale: Notify::new(), moved: watch::Sender::new(()) });
        let task = tokio::spawn(Arc::clone(&shared).refresh_on()).abort_handle();
        Ok(Cluster { shared, task })
    }

    /// Sends each command to where its slot is, all at once; yields the answers in their order.
    pub(super) async fn run(&self, commands: &[Command], writes: bool) -> Vec<Result<Value, Failure>> {
        let mut answers: Vec<_> = commands.iter().map(|_| None).collect();
        let mut errands: Vec<_> = (0..commands.len()).map(|index| Errand { index, detour: None }).collect();
        let end = Instant::now() + self.shared.dialer.answer_within;
        let mut redirects = 0;
        loop {
            errands = self.round(commands, errands, writes, &mut answers).await;
            if errands.is_empty() || redirects == REDIRECTS || Instant::now() >= end {
                break;
            }
            if errands.iter().any(|errand| errand.detour.is_none()) {
                sleep(PAUSE).await;
            } else {
                redirects += 1;
            }
        }
        let wandering = || Failure::Unreachable("the slot is on the move in the Cluster".into());
        answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(wandering()))).collect()
    }

    /// What is wrong with any of it.
    pub(super) fn trouble(&self) -> Option<String> {
        let nodes = self.shared.nodes.read();
        nodes.links.values().find_map(|link| link.condition().trouble()).or_else(|| nodes.slots.gap())
    }

    /// The primary of a slot, if any is known.
    pub(super) fn primary(&self, slot: u16) -> Option<Address> {
        self.shared.nodes.read().slots.primary(slot).cloned()
    }

    /// Tells of every change of where slots are.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.shared.moved.subscribe()
    }

    /// Something suggests that slots are elsewhere.
    pub(super) fn suspect(&self) {
        self.shared.stale.notify_one();
    }

    pub(super) fn dialer(&self) -> &Arc<Dialer> {
        &self.shared.dialer
    }

    /// Sends every errand once; yields those that have to be sent again.
    async fn round(
        &self,
        commands: &[Command],
        errands: Vec<Errand>,
        writes: bool,
        answers: &mut [Option<Result<Value, Failure>>],
    ) -> Vec<Errand> {
        let mut parcels = HashMap::<Address, Vec<Errand>>::new();
        for errand in errands {
            match self.shared.destination(&errand, commands) {
                Some(address) => parcels.entry(address).or_default().push(errand),
                None => {
                    self.shared.stale.notify_one();
                    put(
                        answers,
                        errand.index,
                        Err(Failure::Unreachable("the Cluster does not serve the slot".into())),
                    );
                }
            }
        }
        let sent =
            parcels.into_iter().map(|(address, errands)| self.deliver(commands, address, errands, writes));
        let mut again = Vec::new();
        for (address, errand, answer) in join_all(sent).await.into_iter().flatten() {
            match self.shared.detour(&address, &answer) {
                Some(detour) => again.push(Errand { detour, ..errand }),
                None => put(answers, errand.index, answer),
            }
        }
        again
    }

    /// Sends some errands to one node.
    async fn deliver(
        &self,
        commands: &[Command],
        address: Address,
        errands: Vec<Errand>,
        writes: bool,
    ) -> Vec<(Address, Errand, Result<Value, Failure>)> {
        let link = self.shared.link(&address);
        let mut pipeline = Pipeline::with_capacity(errands.len());
        for errand in &errands {
            if errand.detour.as_ref().is_some_and(|detour| detour.asking) {
                pipeline.cmd("ASKING");
            }
            if let Some(command) = commands.get(errand.index) {
                pipeline.add_command(command.cmd.clone());
            }
        }
        let sent = link.send(&pipeline).await;
        if sent.is_err() {
            self.shared.stale.notify_one();
        }
        let mut values = sent.as_ref().map(|values| values.clone().into_iter());
        let mut delivered = Vec::with_capacity(errands.len());
        for errand in errands {
            let answer = match &mut values {
                Ok(values) => {
                    if errand.detour.as_ref().is_some_and(|detour| detour.asking) {
                        values.next();
                    }
                    super::answer(values.next())
                }
                Err(failure) => Err((*failure).clone()),
            };
            delivered.push((address.clone(), errand, answer));
        }
        if writes {
            super::judge(&link, commands, delivered.iter().map(|(_, errand, answer)| (errand.index, answer)));
        }
        delivered
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn destination(&self, errand: &Errand, commands: &[Command]) -> Option<Address> {
        if let Some(detour) = &errand.detour {
            return Some(detour.to.clone());
        }
        self.nodes.read().slots.primary(commands.get(errand.index)?.slot()).cloned()
    }

    fn link(&self, address: &Address) -> Arc<Link> {
        if let Some(link) = self.nodes.read().links.get(address) {
            return Arc::clone(link);
        }
        let mut nodes = self.nodes.write();
        let begin = || Arc::new(Link::begin(Place::Node(address.clone()), Arc::clone(&self.dialer)));
        Arc::clone(nodes.links.entry(address.clone()).or_insert_with(begin))
    }

    /// Where a command has to go that was answered so: elsewhere, or (`Some(None)`) to its slot again.
    fn detour(&self, from: &Address, answer: &Result<Value, Failure>) -> Option<Option<Detour>> {
        let Err(Failure::Refused { code, text }) = answer else { return None };
        let asking = match code.as_str() {
            "MOVED" => false,
            "ASK" => true,
            "TRYAGAIN" => return Some(None),
            "READONLY" | "CLUSTERDOWN" => {
                self.stale.notify_one();
                return None;
            }
            _ => return None,
        };
        if !asking {
            self.stale.notify_one();
        }
        Some(Some(Detour { to: redirected(text, from)?, asking }))
    }

    /// Keeps what is known of slots fresh.
    async fn refresh_on(self: Arc<Self>) {
        loop {
            let old = sleep(REFRESH.mul_f64(0.75 + fastrand::f64() / 2.0));
            tokio::select! {
                () = old => {}
                () = self.stale.notified() => {}
            }
            match self.ask().await {
                Ok(slots) => self.adopt(slots),
                Err(error) => tracing::debug!("no node of the Cluster tells its slots: {error}"),
            }
            sleep(FLOOR.mul_f64(0.5 + fastrand::f64())).await;
        }
    }

    /// Asks nodes for the slots, in an order that chance decides, until one answers.
    async fn ask(&self) -> Result<SlotMap, RedisError> {
        let mut links: Vec<_> = {
            let nodes = self.nodes.read();
            nodes.links.iter().map(|(address, link)| (address.clone(), Arc::clone(link))).collect()
        };
        fastrand::shuffle(&mut links);
        let mut question = Pipeline::with_capacity(1);
        question.cmd("CLUSTER").arg("SLOTS");
        for (address, link) in links.into_iter().filter(|(_, link)| link.is_open()) {
            let answers = link.send(&question).await.unwrap_or_default();
            if let Some(slots) = answers.first().and_then(|answer| SlotMap::read(answer, &address)) {
                return Ok(slots);
            }
        }
        let mut failure = RedisError::configuration("no node of the Cluster is named");
        let mut seeds = self.seeds.clone();
        fastrand::shuffle(&mut seeds);
        for seed in seeds {
            match ask_seed(&self.dialer, &seed).await {
                Ok(slots) => return Ok(slots),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Takes `slots` for true; nodes that are no primary in it need no connection.
    fn adopt(&self, slots: SlotMap) {
        let primaries: HashSet<_> = slots.primaries().into_iter().collect();
        let dropped: Vec<_> = {
            let mut nodes = self.nodes.write();
            if nodes.slots != slots {
                nodes.slots = slots;
                self.moved.send_replace(());
            }
            nodes.links.extract_if(|address, _| !primaries.contains(address)).collect()
        };
        for (address, _) in dropped {
            tracing::info!("Redis at {address} is no primary of the Cluster any more");
        }
        primaries.iter().for_each(|address| drop(self.link(address)));
    }
}

async fn ask_seed(dialer: &Dialer, seed: &Address) -> Result<SlotMap, RedisError> {
    let mut dialled = Place::Node(seed.clone()).dial(dialer, None).await?;
    let mut question = redis::cmd("CLUSTER");
    question.arg("SLOTS");
    let answer = tokio::select! {
        answer = dialled.commands.send_packed_command(&question) => answer.ok(),
        () = &mut dialled.driver => None,
    };
    answer.and_then(|answer| SlotMap::read(&answer, seed)).ok_or_else(|| {
        let message =
            format!("Redis at {seed} does not tell the Cluster's slots: its ACL must allow CLUSTER SLOTS");
        RedisError::new(RedisErrorKind::Unfit, message)
    })
}

/// Says that the address was the Cluster's own word.
fn named(error: RedisError) -> RedisError {
    let message = format!(
        "{error}; the Cluster itself names this address: see `cluster-announce-ip` or \
         `cluster-announce-hostname` in the nodes' configuration"
    );
    RedisError::caused(error.kind(), message, error)
}

/// The address in `MOVED SLOT HOST:PORT`; without a host it is that of who says it.
fn redirected(text: &str, from: &Address) -> Option<Address> {
    let (host, port) = text.rsplit(' ').next()?.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = if host.is_empty() || host == "?" { from.host.as_str() } else { host };
    Some(Address { host: host.to_owned(), port: port.parse().ok()? })
}

fn put(answers: &mut [Option<Result<Value, Failure>>], index: usize, answer: Result<Value, Failure>) {
    if let Some(place) = answers.get_mut(index) {
        *place = Some(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirection_names_where_to() {
        let from = Address { host: "10.0.0.1".to_owned(), port: 1 };
        let to = |text| redirected(text, &from).map(|address| address.to_string());
        assert_eq!(to("MOVED 3999 127.0.0.1:6381").as_deref(), Some("127.0.0.1:6381"));
        assert_eq!(to("ASK 3999 ::1:6381").as_deref(), Some("[::1]:6381"));
        assert_eq!(to("MOVED 3999 :6381").as_deref(), Some("10.0.0.1:6381"));
        assert_eq!(to("MOVED 3999"), None);
    }
}
