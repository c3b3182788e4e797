//! What a redis server is filled with: keys and values of many kinds, by the redis protocol (RESP
//! 2).

use super::status;
use crate::numbers::XorShift32;
use anyhow::{Context as _, Result, bail};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Commands that are sent before their answers are read.
const BATCH: u32 = 2000;

const LETTERS: &[u8] = b"eeeeettttaaaooiinnsshhrrddlucmfwygpb";

/// A command: its name, the key, what follows.
type Command = Vec<Vec<u8>>;

/// Stores values until the server, process `pid`, has so many bytes of anonymous memory.
pub(super) fn fill(socket: &Path, pid: u32, bytes: u64) -> Result<()> {
    let mut sender = UnixStream::connect(socket).context("redis-server does not answer")?;
    let mut answers = BufReader::new(sender.try_clone()?);
    let mut data = Data::new(1);
    while status::bytes(pid, status::ANONYMOUS)? < bytes {
        let mut batch = Vec::new();
        for _ in 0..BATCH {
            encode(&data.command(), &mut batch);
        }
        sender.write_all(&batch).context("redis-server")?;
        for _ in 0..BATCH {
            check_answer(&mut answers)?;
        }
    }
    Ok(())
}

/// An array of byte strings.
fn encode(command: &Command, out: &mut Vec<u8>) {
    out.extend(format!("*{}\r\n", command.len()).bytes());
    for word in command {
        out.extend(format!("${}\r\n", word.len()).bytes());
        out.extend(word);
        out.extend(b"\r\n");
    }
}

/// All commands that are sent are answered by one line; that of an error begins with a minus.
fn check_answer(answers: &mut impl BufRead) -> Result<()> {
    let mut line = String::new();
    answers.read_line(&mut line).context("redis-server")?;
    match line.as_bytes().first() {
        Some(b'+' | b':') => Ok(()),
        Some(_) => bail!("redis-server said: {}", line.trim_end()),
        None => bail!("redis-server ended before it was filled"),
    }
}

/// Commands that follow from a seed.
struct Data {
    numbers: XorShift32,
    words: Vec<String>,
    /// Commands so far.
    count: u32,
}

impl Data {
    fn new(seed: u32) -> Self {
        let mut numbers = XorShift32::new(seed);
        let mut word = || {
            let len = 2 + numbers.below(11);
            let letters = (0..len).map(|_| LETTERS[numbers.below(LETTERS.len() as u32) as usize]);
            letters.map(char::from).collect()
        };
        let words = (0..20_000).map(|_| word()).collect();
        Self {
            numbers,
            words,
            count: 0,
        }
    }

    /// A word, some more often than others.
    fn word(&mut self) -> &str {
        let share = f64::from(self.numbers.draw()) / f64::from(u32::MAX);
        let number = (self.words.len() - 1) as f64 * share.powi(3);
        &self.words[number as usize]
    }

    fn text(&mut self, words: u32) -> String {
        let words: Vec<String> = (0..words).map(|_| self.word().to_owned()).collect();
        words.join(" ")
    }

    fn number(&mut self, bound: u32) -> String {
        self.numbers.below(bound).to_string()
    }

    fn user(&mut self) -> String {
        let (name, street, mail) = (self.text(2), self.text(2), self.word().to_owned());
        let (id, zip, score) = (
            self.count,
            10_000 + self.numbers.below(90_000),
            self.numbers.below(1000),
        );
        format!(
            r#"{{"id":{id},"name":"{name}","email":"{mail}.{id}@mail.example","active":{},"score":{score},"address":{{"street":"{street}","zip":"{zip}"}}}}"#,
            score > 300
        )
    }

    fn bytes(&mut self, len: u32) -> Vec<u8> {
        (0..len).map(|_| self.numbers.below(256) as u8).collect()
    }

    /// The next command. One in seven removes a value, which leaves holes, as servers have them.
    fn command(&mut self) -> Command {
        self.count += 1;
        let count = self.count;
        match self.numbers.below(28) {
            0..=7 => words(["SET", &format!("user:{count}"), &self.user()]),
            8..=11 => {
                let token = self.number(u32::MAX);
                let (id, agent) = (self.number(count), self.text(4));
                let address = format!("10.{}.{}.7", self.number(256), self.number(256));
                words([
                    "HSET",
                    &format!("session:{token}"),
                    "user",
                    &id,
                    "agent",
                    &agent,
                    "address",
                    &address,
                ])
            }
            12..=14 => words(["SET", &format!("hits:{count}"), &self.number(1_000_000)]),
            15..=17 => {
                let len = 20 + self.numbers.below(500);
                words(["SET", &format!("page:{count}"), &self.text(len)])
            }
            18 => {
                let len = 200 + self.numbers.below(4000);
                let mut command = words(["SET", &format!("thumbnail:{count}")]);
                command.push(self.bytes(len));
                command
            }
            19..=20 => self.many("RPUSH", "timeline", |data| vec![data.number(count)]),
            21 => self.many("SADD", "tags", |data| vec![data.word().to_owned()]),
            22..=23 => self.many("ZADD", "board", |data| {
                vec![data.number(100_000), format!("user:{}", data.number(count))]
            }),
            _ => {
                let kind = ["user", "hits", "page", "timeline"][self.numbers.below(4) as usize];
                words(["DEL", &format!("{kind}:{}", self.number(count))])
            }
        }
    }

    /// A command with 5 to 84 members.
    fn many(
        &mut self,
        name: &str,
        key: &str,
        mut member: impl FnMut(&mut Self) -> Vec<String>,
    ) -> Command {
        let mut command = words([name, &format!("{key}:{}", self.count)]);
        for _ in 0..5 + self.numbers.below(80) {
            command.extend(member(self).into_iter().map(String::into_bytes));
        }
        command
    }
}

fn words<const N: usize>(words: [&str; N]) -> Command {
    words.map(|word| word.as_bytes().to_vec()).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn commands_follow_from_the_seed_and_are_of_all_kinds() {
        let commands = |seed| {
            let mut data = Data::new(seed);
            (0..1000).map(move |_| data.command()).collect::<Vec<_>>()
        };
        assert_eq!(commands(1), commands(1));
        assert_ne!(commands(1), commands(2));
        let names: BTreeSet<_> = commands(1)
            .into_iter()
            .map(|mut words| words.remove(0))
            .collect();
        assert_eq!(names.len(), 6, "{names:?}");
    }

    #[test]
    fn a_command_is_an_array_of_strings() {
        let mut out = Vec::new();
        encode(&words(["SET", "a key", ""]), &mut out);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$5\r\na key\r\n$0\r\n\r\n");
    }

    #[test]
    fn a_refusal_is_passed_on() {
        let mut answers = &b"+OK\r\n:12\r\n-OOM command not allowed\r\n"[..];
        assert!(check_answer(&mut answers).is_ok());
        assert!(check_answer(&mut answers).is_ok());
        let said = |answers: &mut &[u8]| check_answer(answers).unwrap_err().to_string();
        assert_eq!(
            said(&mut answers),
            "redis-server said: -OOM command not allowed"
        );
        assert_eq!(
            said(&mut answers),
            "redis-server ended before it was filled"
        );
    }
}
