//! Misfortune: what happens to processes, the network, the membership and the bucket, drawn from the seed.

use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::assignment::MemberState;
use brainy_coordination::keys;
use brainy_coordination::store::sim::FaultPlan;
use brainy_coordination::types::InstanceId;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::time::sleep;

use crate::clients::pick;
use crate::node::Process;
use crate::world::{World, instance, member, nap};

/// Instances there can be.
pub(crate) const INSTANCES: usize = 5;

/// Lets things go wrong for a while.
pub(crate) async fn run(world: Arc<World>) {
    let mut rng = world.rng("chaos");
    let end = world.now() + Duration::from_secs(rng.random_range(25..70));
    world.bucket.set_faults(plan(&mut rng));
    while world.now() < end {
        nap(&mut rng, 300, 5000).await;
        match rng.random_range(0..100) {
            0..25 => pause(&world, &mut rng),
            25..40 => crash(&world, &mut rng),
            40..48 => cut_off(&world, &mut rng),
            48..65 => change_member(&world, &mut rng),
            65..75 => suspect(&world, &mut rng),
            75..85 => world.bucket.set_faults(plan(&mut rng)),
            _ if world.lossy => damage(&world, &mut rng).await,
            _ => {}
        }
    }
}

/// Ends all misfortune: every process goes on, every instance runs and is a member.
pub(crate) fn heal(world: &Arc<World>) {
    world.trace("chaos", "everything heals");
    world.bucket.set_faults(FaultPlan::calm());
    world.suspected.lock().clear();
    let processes = world.processes.lock().clone();
    for process in processes {
        world.bucket.partition(&process.name, false);
        process.resume();
        if process.is_replaced() {
            process.crash();
        }
    }
    for instance in (0..INSTANCES).map(instance) {
        if world.process(&instance).is_none() {
            Process::start(world, instance.clone());
        }
        let mut members = world.members.lock();
        members.insert(instance.clone(), member(&instance));
    }
}

fn plan(rng: &mut ChaCha8Rng) -> FaultPlan {
    let share: f64 = rng.random_range(0.0..1.0);
    let calm = rng.random_bool(0.3);
    let scale = |p: f64| if calm { 0.0 } else { p * share };
    let harsh = FaultPlan::harsh();
    FaultPlan {
        p_busy: scale(harsh.p_busy),
        p_conflict_409: scale(harsh.p_conflict_409),
        p_timeout_before: scale(harsh.p_timeout_before),
        p_timeout_after: scale(harsh.p_timeout_after),
        p_delayed_effect: scale(harsh.p_delayed_effect),
        timeout: Duration::from_secs(1),
        late_by: Duration::from_millis(10)..=Duration::from_secs(20),
        ..harsh
    }
}

fn any_process(world: &World, rng: &mut ChaCha8Rng) -> Option<Arc<Process>> {
    let processes = world.processes.lock();
    (!processes.is_empty()).then(|| Arc::clone(pick(&processes, rng)))
}

fn set_state(world: &World, instance: &InstanceId, state: MemberState) {
    if let Some(member) = world.members.lock().get_mut(instance) {
        member.state = state;
    }
}

/// Pauses a process, perhaps beyond every patience. The orchestrator may call it gone and even start it anew meanwhile.
fn pause(world: &Arc<World>, rng: &mut ChaCha8Rng) {
    let Some(process) = any_process(world, rng) else {
        return;
    };
    let longest = if rng.random_bool(0.3) { 45_000 } else { 8_000 };
    let time = Duration::from_millis(rng.random_range(100..longest));
    let gone_after = rng.random_bool(0.6).then(|| rng.random_range(0..4000));
    let replaced = rng.random_bool(0.3);
    world.counts.lock().pauses += 1;
    process.pause();
    let world_ = Arc::clone(world);
    world.spawn(async move {
        let world = world_;
        let me = &process.me.instance;
        if let Some(after) = gone_after {
            sleep(Duration::from_millis(after)).await;
            set_state(&world, me, MemberState::Gone);
            if replaced {
                Process::start(&world, me.clone());
                set_state(&world, me, MemberState::Active);
            }
        }
        sleep(time).await;
        process.resume();
        if process.is_replaced() {
            // Until whoever runs it notices.
            sleep(time / 2).await;
        }
        if process.is_replaced() {
            return process.crash();
        }
        set_state(&world, me, MemberState::Active);
    });
}

/// Ends a process without a word; it starts again later, with nothing but its name.
fn crash(world: &Arc<World>, rng: &mut ChaCha8Rng) {
    let Some(process) = any_process(world, rng) else {
        return;
    };
    let down = Duration::from_millis(rng.random_range(200..10_000));
    let known = rng.random_bool(0.6);
    world.counts.lock().crashes += 1;
    process.crash();
    let instance = process.me.instance.clone();
    if known {
        set_state(world, &instance, MemberState::Gone);
    }
    let world_ = Arc::clone(world);
    world.spawn(async move {
        sleep(down).await;
        if world_.process(&instance).is_none() {
            Process::start(&world_, instance.clone());
        }
        set_state(&world_, &instance, MemberState::Active);
    });
}

/// Takes the store away from a process for a while.
fn cut_off(world: &Arc<World>, rng: &mut ChaCha8Rng) {
    let Some(process) = any_process(world, rng) else {
        return;
    };
    let time = Duration::from_millis(rng.random_range(200..15_000));
    world.trace(&process.name, "is cut off");
    world.bucket.partition(&process.name, true);
    let world_ = Arc::clone(world);
    world.spawn(async move {
        sleep(time).await;
        let processes = world_.processes.lock();
        if processes.iter().any(|p| p.name == process.name) {
            world_.bucket.partition(&process.name, false);
        }
    });
}

/// An instance joins, leaves, drains, comes back, or gets another weight: moves are announced, redirected, withdrawn.
fn change_member(world: &Arc<World>, rng: &mut ChaCha8Rng) {
    let id = instance(rng.random_range(0..INSTANCES));
    let state = match rng.random_range(0..10) {
        0..3 => Some(MemberState::Draining),
        3 => Some(MemberState::Unready),
        4 => Some(MemberState::Gone),
        _ => None,
    };
    let weight = if rng.random_bool(0.5) { 1.0 } else { 3.0 };
    let leaves = rng.random_bool(0.15);
    world.trace(
        "members",
        format_args!("{id}: {state:?}, weight {weight}, leaves: {leaves}"),
    );
    if world.process(&id).is_none() {
        Process::start(world, id.clone());
    }
    let mut members = world.members.lock();
    if leaves && members.len() > 1 {
        members.remove(&id);
        return;
    }
    let mut changed = member(&id);
    changed.weight = weight;
    changed.state = state.unwrap_or(MemberState::Active);
    members.insert(id, changed);
}

/// Somebody's heartbeat seems to stand still, or to go on.
fn suspect(world: &World, rng: &mut ChaCha8Rng) {
    let id = instance(rng.random_range(0..INSTANCES));
    let mut suspected = world.suspected.lock();
    if !suspected.remove(&id) {
        world.trace("members", format_args!("{id} is suspected"));
        suspected.insert(id);
    }
}

/// Damages or removes one of the newest log objects.
async fn damage(world: &World, rng: &mut ChaCha8Rng) {
    let partition = pick(&world.partitions, rng);
    let prefix = keys::wal_partition(partition);
    let slots: Vec<String> = {
        let all = world.bucket.snapshot();
        let newest = all.keys().filter(|k| k.starts_with(&prefix)).rev();
        newest.take(4).cloned().collect()
    };
    if slots.is_empty() {
        return;
    }
    let key = pick(&slots, rng);
    let Some(position) = keys::parse_wal_slot(key) else {
        return;
    };
    {
        let mut audit = world.audit.lock();
        audit.story(partition).damaged.insert(position);
    }
    world.counts.lock().damaged += 1;
    let how = rng.random_range(0..3);
    world.trace("chaos", format_args!("damages {key} ({how})"));
    world.bucket.corrupt(key, |body| match how {
        0 => bytes::Bytes::new(),
        1 => body.slice(..body.len() / 2),
        _ => {
            let mut body = body.to_vec();
            let middle = body.len() / 2;
            body.iter_mut()
                .skip(middle)
                .take(1)
                .for_each(|b| *b ^= 0x40);
            body.into()
        }
    });
}
