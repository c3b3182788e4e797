//! What is done to the store meanwhile, through the control socket: each part by a thread of its
//! own, again and again.

use crate::Stage;
use crate::disk::{Control, Disk};
use crate::layout::{FIRST_SIZE, LAST_SIZE};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

/// A part, with a seed for what it chooses by chance.
pub(crate) type Part = fn(&Stage, &Disk, u64) -> Result<(), String>;

pub(crate) const PARTS: &[Part] = &[
    giving_back,
    recompressing,
    writing_back,
    writing_back,
    moving_writeback_limit,
    marking,
    growing,
    looking,
];

/// Asks for a verb, known to be under way meanwhile.
fn ask(stage: &Stage, control: &mut Control, request: &Value) -> Result<Value, String> {
    let verb = request["command"].as_str().unwrap();
    let answer = stage.underway.during(verb, || control.ask(request));
    stage.tally.add("answers of the control socket", 1);
    answer.map_err(|error| format!("{request}: {error}"))
}

/// As [`ask`], of what is refused while another of its kind is under way.
fn ask_alone(stage: &Stage, control: &mut Control, request: &Value) -> Result<Value, String> {
    match ask(stage, control, request) {
        Err(error) if error.contains("under way") => {
            stage.tally.add("refused beside another writeback", 1);
            Ok(Value::Null)
        }
        answer => answer,
    }
}

fn giving_back(stage: &Stage, disk: &Disk, seed: u64) -> Result<(), String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut control = disk.control();
    while stage.goes_on() {
        ask(stage, &mut control, &json!({"command": "compact"}))?;
        ask(stage, &mut control, &json!({"command": "trim"}))?;
        let bytes = random.u64(stage.regime.limits.clone());
        let request = json!({"command": "limit", "bytes": bytes});
        let what = match ask(stage, &mut control, &request) {
            Ok(_) => "limit moved",
            Err(_) if stage.regime.is_tight => "limit refused: more is in use",
            Err(error) => return Err(error),
        };
        stage.tally.add(what, 1);
    }
    Ok(())
}

fn recompressing(stage: &Stage, disk: &Disk, seed: u64) -> Result<(), String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut control = disk.control();
    while stage.goes_on() {
        let blocks = ["all", "idle", "huge", "huge_idle"][random.usize(..4)];
        let request = json!({"command": "recompress", "blocks": blocks, "max": random.u64(1..200)});
        let before = stage.underway.is("writeback");
        ask(stage, &mut control, &request)?;
        let beside = before || stage.underway.is("writeback");
        stage
            .tally
            .add("recompress and writeback at once", beside.into());
    }
    Ok(())
}

fn writing_back(stage: &Stage, disk: &Disk, seed: u64) -> Result<(), String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut control = disk.control();
    while stage.goes_on() {
        let (blocks, what) = [
            ("all", "any blocks written back"),
            ("idle", "idle blocks written back"),
            ("huge", "huge blocks written back"),
        ][random.usize(..3)];
        let form = ["raw", "compressed"][random.usize(..2)];
        let request = json!({
            "command": "writeback", "blocks": blocks, "form": form, "max": random.u64(1..100),
        });
        let report = ask_alone(stage, &mut control, &request)?;
        for (what, name) in [
            (what, "written_blocks"),
            (
                "blocks overwritten while they were written back",
                "changed_meanwhile_blocks",
            ),
        ] {
            stage.tally.add(what, report[name].as_u64().unwrap_or(0));
        }
        match report["end"].as_str() {
            None | Some("done") => {}
            Some("the writeback limit is reached") => stage.tally.add("writeback limit reached", 1),
            Some("the backing had no room for some") if stage.regime.is_tight => {
                stage.tally.add("backing full", 1);
            }
            Some(end) => return Err(format!("{request}: {end}: {report}")),
        }
    }
    Ok(())
}

/// Lets little be written back for a while, then all.
fn moving_writeback_limit(stage: &Stage, disk: &Disk, seed: u64) -> Result<(), String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut control = disk.control();
    while stage.regime.is_tight && stage.goes_on() {
        let bound = match random.bool() {
            true => json!({"bytes": random.u64(..256 << 10)}),
            false => json!("none"),
        };
        let request = json!({"command": "writeback_limit", "bytes": bound});
        ask(stage, &mut control, &request)?;
        stage.tally.add("writeback limit moved", 1);
    }
    Ok(())
}

fn marking(stage: &Stage, disk: &Disk, seed: u64) -> Result<(), String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut control = disk.control();
    while stage.goes_on() {
        let age = random.bool().then_some(1);
        ask(stage, &mut control, &json!({"command": "idle", "age": age}))?;
    }
    Ok(())
}

fn growing(stage: &Stage, disk: &Disk, seed: u64) -> Result<(), String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut control = disk.control();
    let mut size = FIRST_SIZE;
    while stage.goes_on() {
        size = (size + random.u64(..64) * 512).min(LAST_SIZE);
        match ask(
            stage,
            &mut control,
            &json!({"command": "resize", "bytes": size}),
        ) {
            Ok(_) => {}
            Err(_) if stage.regime.is_tight => {
                // Its table may have no room; the next one is smaller, or there is room then.
                stage.tally.add("resize refused for want of room", 1);
                size = stage.size.load(Ordering::Relaxed);
                continue;
            }
            Err(error) => return Err(error),
        }
        // Relaxed: a hint of what a connection must see that begins later.
        stage.size.store(size, Ordering::Relaxed);
    }
    Ok(())
}

fn looking(stage: &Stage, disk: &Disk, _seed: u64) -> Result<(), String> {
    let mut control = disk.control();
    while stage.goes_on() {
        let stat = ask(stage, &mut control, &json!({"command": "stat"}))?;
        let figure = |name: &str| crate::common::number(&stat[0], name);
        let (used, most) = (figure("mem_used_total"), stage.regime.limits.end);
        if used > most
            || figure("compr_data_size") > used
            || figure("bd_count") > figure("disksize") / 4096
        {
            return Err(format!("what cannot be: {stat}"));
        }
        let metrics = ask(stage, &mut control, &json!({"command": "metrics"}))?;
        if !metrics
            .as_str()
            .is_some_and(|text| text.contains("# TYPE "))
        {
            return Err(format!("no metrics: {metrics}"));
        }
    }
    Ok(())
}
