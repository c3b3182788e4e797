//! The grammar of OpenMetrics 1.0, as far as gauges, counters and histograms go; as strict as the
//! parsers of Prometheus' clients.

use std::collections::HashSet;

/// Each sample by its name and labels, as they are written: `name{label="value"}`.
pub(crate) type Samples = Vec<(String, f64)>;

/// Reads a page, or says which line is wrong.
pub(crate) fn parse(text: &str) -> Result<Samples, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("no # EOF at the end")?;
    let mut page = Page::default();
    for line in body.split_terminator('\n') {
        let taken = match line.strip_prefix("# ") {
            Some(said) => page.metadata(said),
            None => page.sample(line),
        };
        taken.map_err(|error| format!("{error}: {line}"))?;
    }
    page.end_of_family()?;
    Ok(page.samples)
}

/// Names and values.
type Labels = Vec<(String, String)>;

#[derive(Default)]
struct Page {
    /// Names that samples of all families so far may have: none has that of another.
    reserved: HashSet<String>,
    family: Family,
    seen: HashSet<String>,
    samples: Samples,
}

/// What is said of a metric, and the buckets of its histogram that is being told.
#[derive(Default)]
struct Family {
    name: String,
    kind: String,
    said: Vec<String>,
    has_samples: bool,
    buckets: Vec<(f64, f64)>,
    labels: String,
}

impl Page {
    fn metadata(&mut self, line: &str) -> Result<(), String> {
        let mut parts = line.splitn(3, ' ');
        let (what, name, text) = (parts.next(), parts.next(), parts.next());
        let (Some(what), Some(name), Some(text)) = (what, name, text) else {
            return Err("neither TYPE, UNIT nor HELP".to_owned());
        };
        if name != self.family.name {
            self.end_of_family()?;
            self.begin_family(name)?;
        } else if self.family.has_samples {
            return Err("said behind the samples".to_owned());
        }
        if self.family.said.iter().any(|said| said == what) {
            return Err("said twice".to_owned());
        }
        self.family.said.push(what.to_owned());
        match what {
            "TYPE" => self.take_kind(text),
            "UNIT" if name.ends_with(&format!("_{text}")) => Ok(()),
            "UNIT" => Err("the name does not end with the unit".to_owned()),
            "HELP" => Ok(()),
            _ => Err("neither TYPE, UNIT nor HELP".to_owned()),
        }
    }

    fn begin_family(&mut self, name: &str) -> Result<(), String> {
        if !is_name(name) {
            return Err("no name of a metric".to_owned());
        }
        self.family = Family {
            name: name.to_owned(),
            ..Family::default()
        };
        Ok(())
    }

    fn take_kind(&mut self, kind: &str) -> Result<(), String> {
        let suffixes: &[&str] = match kind {
            "gauge" => &[""],
            "counter" => &["", "_total", "_created"],
            "histogram" => &["", "_bucket", "_count", "_sum", "_created"],
            _ => return Err("no such type".to_owned()),
        };
        kind.clone_into(&mut self.family.kind);
        for suffix in suffixes {
            let name = format!("{}{suffix}", self.family.name);
            if !self.reserved.insert(name) {
                return Err("the name is that of another metric".to_owned());
            }
        }
        Ok(())
    }

    fn sample(&mut self, line: &str) -> Result<(), String> {
        let (name, rest) = line.split_once('{').ok_or("no labels")?;
        let (labels, rest) = take_labels(rest)?;
        let value = rest.strip_prefix(' ').ok_or("no value")?;
        let value: f64 = value.parse().map_err(|_| "no number")?;
        let suffix = name.strip_prefix(&self.family.name);
        let suffix = suffix.ok_or("a sample of another metric")?;
        let bound = labels.iter().find(|(name, _)| name == "le");
        let others: Vec<_> = labels.iter().filter(|(name, _)| name != "le").collect();
        let others = format!("{others:?}");
        match (self.family.kind.as_str(), suffix, bound) {
            ("gauge", "", None) => {}
            ("counter", "_total", None) if value >= 0.0 => {}
            ("histogram", "_bucket", Some((_, bound))) => self.bucket(&others, bound, value)?,
            ("histogram", "_sum" | "_count", None) => {
                let last = self.family.buckets.last();
                let (bound, count) = last.ok_or("before the buckets")?;
                if others != self.family.labels || *bound != f64::INFINITY {
                    return Err("not behind its last bucket".to_owned());
                }
                if suffix == "_count" && value != *count {
                    return Err("not the last bucket's count".to_owned());
                }
            }
            _ => return Err("no sample of this type".to_owned()),
        }
        self.family.has_samples = true;
        let key = &line[..line.len() - rest.len()];
        if !self.seen.insert(format!("{name}{labels:?}")) {
            return Err("told twice".to_owned());
        }
        self.samples.push((key.to_owned(), value));
        Ok(())
    }

    fn bucket(&mut self, labels: &str, bound: &str, count: f64) -> Result<(), String> {
        let bound = match bound {
            "+Inf" => f64::INFINITY,
            number => number.parse().map_err(|_| "no bound")?,
        };
        if labels != self.family.labels {
            self.end_of_histogram()?;
            labels.clone_into(&mut self.family.labels);
        }
        let last = self.family.buckets.last();
        if last.is_some_and(|last| last.0 >= bound || last.1 > count) {
            return Err("buckets that do not grow".to_owned());
        }
        self.family.buckets.push((bound, count));
        Ok(())
    }

    fn end_of_histogram(&mut self) -> Result<(), String> {
        match self.family.buckets.drain(..).next_back() {
            Some((bound, _)) if bound != f64::INFINITY => Err("no last bucket".to_owned()),
            _ => Ok(()),
        }
    }

    fn end_of_family(&mut self) -> Result<(), String> {
        self.end_of_histogram()?;
        match self.family.name.is_empty() || self.family.has_samples {
            true => Ok(()),
            false => Err(format!("{} has no samples", self.family.name)),
        }
    }
}

fn is_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

/// Labels up to the brace, and what is behind it.
fn take_labels(text: &str) -> Result<(Labels, &str), String> {
    let (mut labels, mut rest) = (Labels::new(), text);
    loop {
        let (name, value) = rest.split_once("=\"").ok_or("no label")?;
        if !is_name(name) || labels.iter().any(|(other, _)| other == name) {
            return Err(format!("a label by the name of {name}"));
        }
        let (mut unescaped, mut escaped, mut end) = (String::new(), false, None);
        for (at, letter) in value.char_indices() {
            match (escaped, letter) {
                (true, '\\' | '"' | 'n') => unescaped.push(letter),
                (true, _) => return Err("no such escape".to_owned()),
                (false, '"') => {
                    end = Some(at);
                    break;
                }
                (false, '\\') => {}
                (false, _) => unescaped.push(letter),
            }
            escaped = !escaped && letter == '\\';
        }
        let end = end.ok_or("a label without an end")?;
        labels.push((name.to_owned(), unescaped));
        rest = &value[end + 1..];
        if let Some(behind) = rest.strip_prefix('}') {
            return Ok((labels, behind));
        }
        rest = rest.strip_prefix(',').ok_or("no comma")?;
    }
}
