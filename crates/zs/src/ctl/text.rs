//! Answers for people, at 80 columns.

use crate::control::{ClientStat, Operations, Request, Stat};
use crate::failure::Failure;
use crate::table::{new_table, render};
use crate::units::{Size, Time};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;

/// Returns what is printed of an answer.
pub(super) fn answer(request: &Request, value: Value, width: usize) -> Result<String, Failure> {
    if *request == Request::Stat {
        let stats = stats(value)?;
        let parts: Vec<String> = stats.iter().map(|stat| stat_text(stat, width)).collect();
        return Ok(parts.join("\n"));
    }
    if *request == Request::Clients {
        return Ok(clients(&read::<Vec<ClientStat>>(value)?, width));
    }
    Ok(match value {
        Value::Null => String::new(),
        Value::String(text) => text,
        Value::Object(fields) => {
            let label = |name: &str| match name.strip_suffix("_bytes") {
                Some(start) => start.replace('_', " "),
                None => name.replace('_', " "),
            };
            let names = fields.keys().map(|name| label(name).len());
            let column = names.max().unwrap_or(0);
            let line = |(name, value): (&String, &Value)| {
                format!("{:column$}  {}\n", label(name), field(name, value))
            };
            fields.iter().map(line).collect()
        }
        other => format!("{other}\n"),
    })
}

/// Returns the disks of an answer.
pub(super) fn stats(value: Value) -> Result<Vec<Stat>, Failure> {
    read(value)
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    let wrong = |error| Failure::Failed(format!("an answer of another version? {error}"));
    serde_json::from_value(value).map_err(wrong)
}

/// Returns a line for each client.
fn clients(list: &[ClientStat], width: usize) -> String {
    if list.is_empty() {
        return "no client is connected\n".to_owned();
    }
    let mut table = new_table(width);
    table.set_header(["ID", "FROM", "EXPORT", "SINCE", "IDLE", "REQUESTS", "BYTES"]);
    for one in list {
        let from = match (&one.address, one.user, one.process) {
            (Some(address), ..) => address.clone(),
            (None, Some(user), Some(process)) => format!("uid {user} pid {process}"),
            (None, Some(user), None) => format!("uid {user}"),
            _ => "-".to_owned(),
        };
        let export = match one.export.as_deref() {
            None => "(handshake)",
            Some("") => "(default)",
            Some(name) => name,
        };
        table.add_row([
            one.id.to_string(),
            from,
            export.to_owned(),
            ago(one.connected_seconds),
            ago(one.idle_seconds),
            one.requests.to_string(),
            short(one.bytes),
        ]);
    }
    render(&mut table, &[1, 2], 2) + "\n"
}

/// Returns a time in the two largest units that it has.
fn ago(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

fn field(name: &str, value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if name.ends_with("_bytes") => number
            .as_u64()
            .map_or_else(|| number.to_string(), |bytes| Size(bytes).to_string()),
        other => other.to_string(),
    }
}

/// Returns a number with as many digits as people read.
pub(super) fn ratio(stat: &Stat) -> String {
    stat.ratio()
        .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
}

pub(super) fn time(time: Option<Duration>) -> String {
    time.map_or_else(
        || "-".to_owned(),
        |time| Time(time.as_nanos() as f64).to_string(),
    )
}

fn stat_text(stat: &Stat, width: usize) -> String {
    let mut text = columns(stat, width);
    text.push_str("\n\n");
    text.push_str(&kernel_lines(stat));
    text.push('\n');
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:<12} {value}\n"));
    let used = Size(stat.mem_used_total);
    line(
        "memory",
        format!(
            "{used} of at most {}, at its peak {}; metadata {}",
            Size(stat.mem_limit),
            Size(stat.mem_used_max),
            Size(stat.metadata)
        ),
    );
    line(
        "ratio",
        format!("{}: data over all memory used", ratio(stat)),
    );
    line("blocks", blocks(stat));
    line("clients", stat.clients.to_string());
    if stat.shared_blocks > 0 {
        let text = format!(
            "{} blocks are {} objects",
            stat.shared_blocks, stat.shared_objects
        );
        line("shared", text);
    }
    if stat.backing_size > 0 {
        let left = stat.writeback_limit;
        let left = left.map_or_else(String::new, |left| {
            format!(", {} may still be written", Size(left))
        });
        let (used, size) = (Size(stat.backing_used), Size(stat.backing_size));
        let count = stat.bd_count;
        line(
            "backing",
            format!("{count} blocks in {used} of {size}{left}"),
        );
    }
    text.push('\n');
    text.push_str(&operations(stat, width));
    text.push('\n');
    text
}

/// Returns the columns of zramctl.
fn columns(stat: &Stat, width: usize) -> String {
    let mut table = new_table(width);
    let primary = stat.algorithms.first();
    let algorithm = primary.map_or("-", |one| one.name.as_str());
    let name = match stat.export.as_str() {
        "" => "(default)",
        name => name,
    };
    table.set_header([
        "NAME",
        "ALGORITHM",
        "DISKSIZE",
        "DATA",
        "COMPR",
        "TOTAL",
        "MEM-LIMIT",
        "MEM-USED",
        "MIGRATED",
    ]);
    let size = |bytes: u64| short(bytes);
    table.add_row([
        name.to_owned(),
        algorithm.to_owned(),
        size(stat.disksize),
        size(stat.orig_data_size),
        size(stat.compr_data_size),
        size(stat.mem_used_total),
        size(stat.mem_limit),
        size(stat.mem_used_max),
        stat.pages_compacted.to_string(),
    ]);
    render(&mut table, &[0, 1], 1)
}

/// Returns a size as zramctl writes it: one decimal, and a letter.
fn short(bytes: u64) -> String {
    const LETTERS: [&str; 7] = ["B", "K", "M", "G", "T", "P", "E"];
    let mut value = bytes as f64;
    let mut letters = LETTERS.iter();
    let mut letter = letters.next();
    while value >= 999.95
        && let Some(next) = letters.next()
    {
        value /= 1024.0;
        letter = Some(next);
    }
    let letter = letter.copied().unwrap_or_default();
    let digits = format!("{value:.1}");
    format!("{}{letter}", digits.strip_suffix(".0").unwrap_or(&digits))
}

/// As in the files of /sys/block/zram0; of bd_stat the unit is a block.
fn kernel_lines(stat: &Stat) -> String {
    format!(
        "mm_stat      {} {} {} {} {} {} {} {} {}\nio_stat      {} {} 0 {}\nbd_stat      {} {} {}\n",
        stat.orig_data_size,
        stat.compr_data_size,
        stat.mem_used_total,
        stat.mem_limit,
        stat.mem_used_max,
        stat.same_pages,
        stat.pages_compacted,
        stat.huge_pages,
        stat.huge_pages_since,
        stat.failed_reads,
        stat.failed_writes,
        stat.notify_free,
        stat.bd_count,
        stat.bd_reads,
        stat.bd_writes,
    )
}

/// Returns how blocks are stored.
fn blocks(stat: &Stat) -> String {
    let by_algorithm = stat.algorithms.iter();
    let mut parts: Vec<String> = by_algorithm
        .map(|one| format!("{} {}", one.blocks, one.name))
        .collect();
    parts.push(format!("{} as they are", stat.huge_pages));
    parts.push(format!("{} same-filled", stat.same_pages));
    parts.join(", ")
}

fn operations(stat: &Stat, width: usize) -> String {
    let mut table = new_table(width);
    table.set_header(["", "requests", "bytes", "p50 below", "p99 below"]);
    let all = [
        ("reads", &stat.read),
        ("writes", &stat.write),
        ("discards", &stat.discard),
    ];
    for (name, one) in all {
        table.add_row(operation(name, one));
    }
    render(&mut table, &[0], 3)
}

fn operation(name: &str, one: &Operations) -> [String; 5] {
    let bytes = match name {
        "discards" => "-".to_owned(),
        _ => Size(one.bytes).to_string(),
    };
    [
        name.to_owned(),
        one.requests.to_string(),
        bytes,
        time(one.latency.quantile(0.5)),
        time(one.latency.quantile(0.99)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_are_readable() {
        let text = |value| answer(&Request::Trim, value, 80).unwrap();
        assert_eq!(
            text(json!({"given_back_bytes": 2048, "n": 2})),
            "given back  2 KiB\nn           2\n"
        );
        assert_eq!(text(json!({"left_bytes": null})), "left  none\n");
        assert_eq!(text(json!("# TYPE\n")), "# TYPE\n");
        assert_eq!(text(Value::Null), "");
        assert!(answer(&Request::Stat, json!([{"a": 1}]), 80).is_err());
    }

    #[test]
    fn clients_fit_80_columns() {
        let tcp = ClientStat {
            id: 1234,
            address: Some("[2001:db8::1234:5678]:54321".to_owned()),
            connected_seconds: 86_400 * 3 + 3600,
            idle_seconds: 61,
            ..ClientStat::default()
        };
        let unix = ClientStat {
            id: 7,
            user: Some(1000),
            process: Some(123_456),
            export: Some("database".to_owned()),
            requests: 123_456_789,
            bytes: 5 << 30,
            ..ClientStat::default()
        };
        let text = clients(&[tcp, unix], 80);
        let text = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        assert!(text.contains("(handshake)  3d01h  1m01s"), "{text}");
        assert!(text.contains("uid 1000 pid 123456"), "{text}");
        assert_eq!(ago(7199), "1h59m");
        assert_eq!(clients(&[], 80), "no client is connected\n");
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0B"),
            (4096, "4K"),
            (1500, "1.5K"),
            (1_048_575, "1M"),
            (8 << 30, "8G"),
            (u64::MAX, "16E"),
        ] {
            assert_eq!(short(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn figures_fit_80_columns() {
        let stat = Stat {
            export: "database".to_owned(),
            disksize: (1 << 40) - 1,
            orig_data_size: (900 << 30) - 1,
            compr_data_size: (300 << 30) - 1,
            mem_used_total: (310 << 30) - 1,
            mem_limit: (512 << 30) - 1,
            mem_used_max: (400 << 30) - 1,
            same_pages: 123_456,
            ..Stat::default()
        };
        let text = stat_text(&stat, 80);
        let header = text.lines().next().unwrap();
        assert!(header.contains("MEM-LIMIT"), "{text}");
        for line in text.lines().filter(|line| !line.starts_with("mm_stat")) {
            assert!(
                anstream::adapter::strip_str(line).to_string().len() <= 80,
                "{line}"
            );
        }
    }
}
