//! The orders of `zs ctl`, carried out.

use super::disk::StoreDisk;
use super::disks::dictionary_from;
use super::refused::{Refused, refuse};
use super::snapshots::Files;
use super::{metrics, report};
use crate::control::{Blocks, Bound, ClientStat, Form, Order, Request, Stat, Whom};
use serde_json::{Value, json};
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use zram::{
    Algorithm, BlockFilter, CompactBudget, Error, IdleRule, Recompress, RecordForm, Store,
    WritebackEnd, WritebackRequest,
};
use zs_nbd::{ClientInfo, Clients};

/// The disks, files and clients that the console can reach.
pub(super) struct Reach {
    pub(super) disks: Vec<Arc<StoreDisk>>,
    pub(super) files: Files,
    pub(super) clients: Clients,
}

impl Reach {
    /// Does what it is told.
    pub(super) fn perform(&self, order: &Order) -> Result<Value, Refused> {
        let export = order.export.as_deref();
        match &order.request {
            Request::Stat => Ok(json!(self.stats(export)?)),
            Request::Metrics => Ok(Value::String(metrics::text(&self.stats(export)?))),
            Request::Clients => {
                let is_meant = self.is_of(export)?;
                let clients = self.clients.list().into_iter();
                let clients = clients
                    .filter(is_meant)
                    .map(|client| report::client(&client));
                Ok(json!(clients.collect::<Vec<ClientStat>>()))
            }
            Request::Disconnect { whom } => self.disconnect(export, *whom),
            request => self.attempt(self.one(export)?, request),
        }
    }

    fn stats(&self, export: Option<&str>) -> Result<Vec<Stat>, Refused> {
        match export {
            None => Ok(self.disks.iter().map(|disk| report::stat(disk)).collect()),
            some => Ok(vec![report::stat(self.one(some)?)]),
        }
    }

    /// Says whether a client is one of an export's, or of any.
    fn is_of(&self, export: Option<&str>) -> Result<impl Fn(&ClientInfo) -> bool, Refused> {
        let name = export.map(|name| self.one(Some(name))).transpose()?;
        let name = name.map(StoreDisk::name);
        Ok(move |client: &ClientInfo| name.is_none() || client.export.as_deref() == name)
    }

    fn disconnect(&self, export: Option<&str>, whom: Whom) -> Result<Value, Refused> {
        let is_of = self.is_of(export)?;
        let is_meant = |client: &ClientInfo| match whom {
            Whom::All => is_of(client),
            Whom::Id(id) => client.number == id && is_of(client),
        };
        let (count, left) = self.clients.disconnect(is_meant);
        match (whom, count, left) {
            (Whom::Id(id), 0, _) => refuse(format!(
                "there is no client {id}: zs ctl clients prints who there is"
            )),
            (_, _, 0) => Ok(json!({ "disconnected_clients": count })),
            _ => refuse(format!(
                "{left} of {count} disconnected clients are still there: what they asked for has not come to an end"
            )),
        }
    }

    fn one(&self, export: Option<&str>) -> Result<&StoreDisk, Refused> {
        let found = match (export, &self.disks[..]) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(name), disks) => disks.iter().find(|disk| disk.name() == name),
        };
        if let Some(disk) = found {
            return Ok(disk);
        }
        if let (Some(name), [only]) = (export, &self.disks[..])
            && only.name().is_empty()
        {
            return refuse(format!(
                "there is no export {name:?}: the only disk has no name, so leave --export out"
            ));
        }
        let names: Vec<_> = self.disks.iter().map(|disk| disk.name()).collect();
        let wrong = export.map_or_else(
            || "there are several exports: name one by --export".to_owned(),
            |name| format!("there is no export {name:?}"),
        );
        refuse(format!("{wrong}; there are {names:?}"))
    }

    fn attempt(&self, disk: &StoreDisk, request: &Request) -> Result<Value, Refused> {
        let store = disk.store();
        Ok(match request {
            // Of all disks, and done already.
            Request::Stat | Request::Metrics | Request::Clients | Request::Disconnect { .. } => {
                Value::Null
            }
            Request::Trim => json!({ "given_back_bytes": store.trim() }),
            Request::Compact => compact(&store),
            Request::Idle { age } => {
                let older = |seconds: &u64| IdleRule::OlderThan(Duration::from_secs(*seconds));
                let rule = age.as_ref().map_or(IdleRule::All, older);
                let marked = store.mark_idle(rule);
                json!({ "idle_blocks": marked.map_err(|error| of_idle(error, *age))? })
            }
            Request::Secondary {
                algorithm,
                dictionary,
            } => self.add_secondary(&store, algorithm, dictionary.as_deref())?,
            Request::Train { path, size } => {
                // What does not fit is refused, with what is allowed.
                let size = usize::try_from(*size).unwrap_or(usize::MAX);
                let dictionary = store.train_dictionary(size).map_err(of_train)?;
                self.files.write(path, dictionary.as_bytes())?;
                json!({ "dictionary_bytes": dictionary.as_bytes().len() })
            }
            Request::Recompress { .. } => recompress(&store, request)?,
            Request::Writeback { .. } => writeback(&store, request)?,
            Request::WritebackLimit { bytes } => {
                match bytes {
                    None => {}
                    Some(Bound::None) => store.set_writeback_limit(None),
                    Some(Bound::Bytes(bytes)) => store.set_writeback_limit(Some(*bytes)),
                }
                json!({ "writeback_limit_bytes": store.writeback_limit() })
            }
            Request::Limit { bytes } => {
                store.set_limit(*bytes)?;
                json!({ "limit_bytes": store.limit() })
            }
            Request::Resize { bytes } => {
                disk.note_replaced();
                store.resize(*bytes)?;
                json!({ "size_bytes": store.size() })
            }
            Request::Reset => {
                disk.reset().map_err(|error| of_busy(error, disk))?;
                Value::Null
            }
            Request::Snapshot { path } => {
                let changes = disk.changes();
                let len = self.files.save(&store, path)?;
                disk.keep(Some(changes));
                json!({ "snapshot_bytes": len })
            }
            Request::Load { path } => {
                let from = BufReader::with_capacity(1 << 20, self.files.open(path)?);
                let loaded = disk.load(from).map_err(|error| of_load(error, disk));
                loaded.map_err(|Refused(text)| Refused(format!("{}: {text}", path.display())))?;
                json!({ "size_bytes": disk.store().size() })
            }
        })
    }

    fn add_secondary(
        &self,
        store: &Store,
        name: &str,
        dictionary: Option<&Path>,
    ) -> Result<Value, Refused> {
        let algorithm = algorithm(name)?;
        let last = store.algorithms().map(|(priority, _)| priority).max();
        let priority = last.unwrap_or(0) + 1;
        if priority > 3 {
            let text = format!(
                "there are three secondary algorithms, which blocks may be stored by: {}",
                secondaries(store)
            );
            return refuse(text);
        }
        let read = |path: &Path| {
            let dictionary = dictionary_from(self.files.open(path)?);
            dictionary.map_err(|text| Refused(format!("{}: {text}", path.display())))
        };
        store.set_secondary(priority, algorithm, dictionary.map(read).transpose()?)?;
        Ok(json!({ "algorithm": algorithm.to_string(), "priority": priority }))
    }
}

fn compact(store: &Store) -> Value {
    let report = store.compact(CompactBudget::UNLIMITED);
    json!({
        "objects_moved": report.objects_moved,
        "frames_freed": report.frames_freed,
        "given_back_bytes": store.trim(),
    })
}

fn recompress(store: &Store, request: &Request) -> Result<Value, Refused> {
    let Request::Recompress {
        blocks,
        threshold,
        max,
        algorithm: name,
        priority,
    } = request
    else {
        return Ok(Value::Null);
    };
    let which = which(*blocks);
    if which == BlockFilter::Incompressible {
        return refuse("incompressible blocks are not tried again: all, idle, huge or huge_idle");
    }
    let (threshold, block_size) = (threshold.unwrap_or(0), store.block_size() as u64);
    if threshold > block_size {
        return refuse(format!(
            "a threshold of {threshold} bytes: no block takes more than {block_size}"
        ));
    }
    let (priority, algorithm) = chosen(store, name.as_deref(), *priority)?;
    let report = store.recompress(&Recompress {
        priority,
        which,
        threshold: threshold as usize,
        max_blocks: max.map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
    })?;
    Ok(json!({
        "algorithm": algorithm.to_string(),
        "tried_blocks": report.tried,
        "smaller_blocks": report.smaller,
        "before_bytes": report.bytes_before,
        "after_bytes": report.bytes_after,
        "failed_blocks": report.failed,
        "first_error": report.first_error.map(|error| error.to_string()),
    }))
}

/// Returns the secondary algorithm that is meant.
fn chosen(
    store: &Store,
    name: Option<&str>,
    priority: Option<u8>,
) -> Result<(u8, Algorithm), Refused> {
    let wanted = name.map(algorithm).transpose()?;
    let mut secondary = store.algorithms().filter(|(number, _)| *number > 0);
    let found = secondary.find(|(number, algorithm)| match (wanted, priority) {
        (Some(wanted), _) => *algorithm == wanted,
        (None, Some(priority)) => *number == priority,
        (None, None) => true,
    });
    found.map_or_else(
        || {
            let none = "add one by zs ctl secondary, or start the server with --secondary";
            refuse(match (wanted, priority) {
                (None, None) => format!("there is no secondary algorithm: {none}"),
                (Some(algorithm), _) => format!(
                    "{algorithm} is no secondary algorithm of the disk, which has {}",
                    secondaries(store)
                ),
                (None, Some(number)) => format!(
                    "{number} is the number of no secondary algorithm of the disk, which has {}",
                    secondaries(store)
                ),
            })
        },
        Ok,
    )
}

fn secondaries(store: &Store) -> String {
    let secondary = store.algorithms().filter(|(number, _)| *number > 0);
    let names: Vec<_> = secondary
        .map(|(number, algorithm)| format!("{algorithm} ({number})"))
        .collect();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}

fn algorithm(name: &str) -> Result<Algorithm, Refused> {
    let parsed = name.parse();
    parsed.map_err(|error: zcomp::ParseAlgorithmError| Refused(error.to_string()))
}

fn writeback(store: &Store, request: &Request) -> Result<Value, Refused> {
    let Request::Writeback {
        blocks,
        range,
        form,
        max,
    } = request
    else {
        return Ok(Value::Null);
    };
    let mut wanted = WritebackRequest::new(which(*blocks));
    wanted.range = range.map(|span| span.start..span.end);
    wanted.form = match form {
        Form::Compressed => RecordForm::Compressed,
        Form::Raw => RecordForm::Raw,
    };
    wanted.max_blocks = max.unwrap_or(u64::MAX);
    let report = store.writeback(&wanted)?;
    Ok(json!({
        "written_blocks": report.blocks,
        "written_bytes": report.bytes,
        "changed_meanwhile_blocks": report.changed,
        "skipped_blocks": report.skipped,
        "failed_blocks": report.failed,
        "first_error": report.first_error.map(|error| error.to_string()),
        "end": match report.end {
            WritebackEnd::Done => "done",
            WritebackEnd::Limit => "the writeback limit is reached",
            WritebackEnd::Full => "the backing had no room for some",
            WritebackEnd::Failed => "the backing fails",
        },
    }))
}

fn which(blocks: Blocks) -> BlockFilter {
    match blocks {
        Blocks::All => BlockFilter::All,
        Blocks::Idle => BlockFilter::Idle,
        Blocks::Huge => BlockFilter::Huge,
        Blocks::HugeIdle => BlockFilter::HugeIdle,
        Blocks::Incompressible => BlockFilter::Incompressible,
    }
}

fn of_train(error: Error) -> Refused {
    match error {
        Error::Codec(_) => Refused(format!(
            "too little to learn from: the disk has too few blocks, or they have nothing in common ({error})"
        )),
        other => other.into(),
    }
}

fn of_idle(error: Error, age: Option<u64>) -> Refused {
    match (error, age) {
        (Error::Invalid(text), Some(_)) => {
            Refused(format!("{text}: start the server with --track-access"))
        }
        (other, _) => other.into(),
    }
}

fn of_load(error: Error, disk: &StoreDisk) -> Refused {
    match error {
        Error::NoMemory => Refused(format!(
            "no room for it below the limit of {} bytes, which zs ctl limit raises; blocks are written back during a load \
             only with --backing auto",
            disk.store().limit()
        )),
        other => of_busy(other, disk),
    }
}

fn of_busy(error: Error, disk: &StoreDisk) -> Refused {
    match (error, disk.clients()) {
        (Error::Busy(_), clients) if clients > 0 => Refused(format!(
            "busy: {clients} {} connected to the disk",
            if clients == 1 {
                "client is"
            } else {
                "clients are"
            }
        )),
        (other, _) => other.into(),
    }
}
