//! A deployment: each instance is drained and started again in turn, under load.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use dialogue_tests::{Instance, RedisServer, Result, until};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    fleet::{Fleet, INSTANCES},
    resident::{Cue, Places, Resident, Talker},
};

const CLIENTS: usize = 2_000;
/// Of twenty each.
const ROOMS: usize = CLIENTS / 20;
const EVERY: Duration = Duration::from_secs(1);
/// After 20 s an instance ends, whomever it has not told to go by then.
const DRAINS_WITHIN: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_loses_nothing_for_two_thousand() -> Result {
    let redis = RedisServer::start().await?;
    let mut fleet = Fleet::over(&[format!("redis:{}", redis.url())]).await?;
    let (talks, talking) = watch::channel(true);
    let places = Arc::new(Places::new(fleet.instances.iter().map(|instance| instance.address)));
    let living = settle(&places, &talking).await?;
    let mut in_time = Ok(());
    for (place, instance) in fleet.instances.iter_mut().enumerate() {
        places.change(place);
        let began = Instant::now();
        instance.terminate().await?;
        assert!(instance.ended().await?, "it did not exit 0");
        in_time = in_time.and(deadline::took("an instance drains", began.elapsed(), DRAINS_WITHIN));
        instance.restart().await?;
        until("it is well again", async || is_well(instance).await).await?;
        places.change(place);
    }
    talks.send_replace(false);
    let residents = living.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    all_is_well(&residents, in_time)
}

async fn is_well(instance: &Instance) -> bool {
    matches!(instance.health().await, Ok((200, _)))
}

/// Has everybody join, spread over the instances and rooms; one of each room talks.
async fn settle(places: &Arc<Places>, talking: &watch::Receiver<bool>) -> Result<JoinSet<Result<Resident>>> {
    let (mut arrived, mut living) = (Vec::new(), JoinSet::new());
    for number in 0..CLIENTS {
        let (place, room) = (number % INSTANCES, format!("project:{}", number % ROOMS));
        arrived.push(Resident::arrive(places, place, room).await?);
    }
    let (totals, known): (Vec<_>, Vec<_>) = (0..ROOMS).map(|_| watch::channel(None)).unzip();
    let mut talkers: Vec<_> = totals.into_iter().map(|total| Some(Talker::new(EVERY, total))).collect();
    for (number, (resident, socket)) in arrived.into_iter().enumerate() {
        let cue = Cue { talks: talking.clone(), total: known[number % ROOMS].clone() };
        let (talker, places) = (talkers[number % ROOMS].take(), Arc::clone(places));
        living.spawn(async move { resident.stay(&places, socket, cue, talker).await });
    }
    Ok(living)
}

/// Each saw what its room was told, came back, and had been sent away before.
fn all_is_well(residents: &[Resident], in_time: Result<(), String>) -> Result {
    let seen: u64 = residents.iter().map(|resident| resident.seq).sum();
    let returns: usize = residents.iter().map(|resident| resident.returns).sum();
    let losses: usize = residents.iter().map(|resident| resident.losses).sum();
    let refused: usize = residents.iter().map(|resident| resident.refused).sum();
    let waits: Vec<_> = residents.iter().flat_map(|resident| &resident.told_to_wait).collect();
    let away = residents.iter().map(|resident| resident.away).max().unwrap_or_default();
    let (least, most) = (waits.iter().min(), waits.iter().max());
    println!(
        "{CLIENTS} clients saw {seen} events; {returns} returns, {losses} losses, {} told to wait {least:?} to {most:?}; \
         {away:?} away at most",
        waits.len()
    );
    assert_eq!(losses, 0);
    nobody_missed_anything(residents);
    in_time?;
    let late: usize = residents.iter().map(|resident| resident.late).sum();
    if late * 100 > returns {
        return Err(format!("{}Redis: {late} were not let in for that", deadline::MARKER).into());
    }
    // An instance that is in service lets in those that others send away.
    assert!(refused * 100 <= returns, "{refused} were refused, {returns} came back");
    // Each instance had a third at least, and what it sent away is spread over the others.
    assert!(returns >= CLIENTS && waits.len() == returns, "{returns} returns, {} sent away", waits.len());
    assert!(most.copied().copied().unwrap_or_default() >= 4 * least.copied().copied().unwrap_or_default());
    Ok(())
}

fn nobody_missed_anything(residents: &[Resident]) {
    let mut rooms = BTreeMap::<&str, Vec<&Resident>>::new();
    for resident in residents {
        rooms.entry(&resident.room).or_default().push(resident);
    }
    assert_eq!(rooms.len(), ROOMS);
    for (room, there) in rooms {
        let said = there[0].seq;
        let have_all = there.iter().all(|one| one.seq == said && one.texts.len() as u64 == said);
        assert!(said > 0 && have_all, "{room}");
    }
}
