//! Which mutations a short run takes: those that a change may have made unnoticed, and by turns a
//! few others.

use std::path::{Path, PathBuf};

use super::list::Mutation;

/// A short run takes at most this many of those whose code or test changed: half a minute for
/// three.
const CHANGED: usize = 12;

/// And one of this many of the others.
const OTHERS: usize = 10;

/// Returns the mutations of a short run.
///
/// `changed` has the files that changed since the last run of all mutations; `None` means that
/// nobody knows. Another `turn` chooses others.
pub(super) fn choose(
    mutations: Vec<Mutation>,
    changed: Option<&[PathBuf]>,
    turn: usize,
) -> Vec<Mutation> {
    let (touched, others): (Vec<_>, Vec<_>) = mutations
        .into_iter()
        .partition(|mutation| changed.is_none_or(|files| is_touched(mutation, files)));
    let step = touched.len().div_ceil(CHANGED).max(1);
    let by_turns = |list: Vec<Mutation>, step: usize| {
        list.into_iter()
            .enumerate()
            .filter(move |(place, _)| (place + turn).is_multiple_of(step))
            .map(|(_, mutation)| mutation)
    };
    let mut chosen: Vec<_> = by_turns(touched, step).collect();
    chosen.extend(by_turns(others, OTHERS));
    chosen
}

/// Says whether the broken file, or the test that must notice, is among the files.
fn is_touched(mutation: &Mutation, files: &[PathBuf]) -> bool {
    let test = mutation.test.source();
    files.iter().any(|file| {
        file == Path::new(&mutation.file)
            || file.with_extension("") == test
            || file.starts_with(&test)
    })
}

#[cfg(test)]
mod tests {
    use super::super::list;
    use super::*;

    /// `count` mutations, each in a file of its own, noticed by a test of its own.
    fn mutations(count: usize) -> Vec<Mutation> {
        let entry = |n| {
            format!(
                "[[mutation]]\nname = \"m{n}\"\nfile = \"crates/p/src/f{n}.rs\"\nfind = 'a'\n\
                 replace = 'b'\ntest = {{ package = \"p\", target = \"t{n}\" }}\n\
                 cfg = \"none\"\nwhy = \"order\"\n"
            )
        };
        let text: String = (0..count).map(entry).collect();
        list::parse(&text).expect("the entries parse")
    }

    fn names(chosen: &[Mutation]) -> Vec<&str> {
        chosen.iter().map(|one| one.name.as_str()).collect()
    }

    #[test]
    fn a_changed_file_or_test_is_always_taken() {
        let changed = [
            PathBuf::from("crates/p/src/f3.rs"),
            PathBuf::from("crates/p/tests/t5.rs"),
            PathBuf::from("crates/p/tests/t7/part.rs"),
        ];
        for turn in 0..OTHERS {
            let chosen = choose(mutations(20), Some(&changed), turn);
            let names = names(&chosen);
            for wanted in ["m3", "m5", "m7"] {
                assert!(names.contains(&wanted), "turn {turn}: {names:?}");
            }
        }
    }

    #[test]
    fn the_turns_together_take_each_of_the_others_once() {
        let mut seen = Vec::new();
        for turn in 0..OTHERS {
            let chosen = choose(mutations(35), Some(&[]), turn);
            seen.extend(chosen.into_iter().map(|one| one.name));
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 35);
    }

    #[test]
    fn however_much_changed_the_run_stays_short() {
        for turn in 0..20 {
            let chosen = choose(mutations(100), None, turn);
            assert!((1..=CHANGED).contains(&chosen.len()), "{}", chosen.len());
        }
    }
}
