//! Contents that outlive the server: files that disks begin with, and files that they are saved to at the end.

use super::disk::{Changes, StoreDisk};
use super::ending::Ending;
use super::failed;
use super::snapshots::write_snapshot;
use crate::failure::Failure;
use crate::output;
use crate::units::Size;
use clap::Args;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zs_os::Folder;

/// Files of disks.
#[derive(Clone, Debug, Args)]
pub(super) struct KeepArgs {
    /// Begin with the contents of this file, which --save or `zs ctl snapshot` made, and with its size, block size and
    /// algorithms; with --export, NAME=FILE for each disk. The file may be missing if --size is given and --save names it, too: the
    /// disk then begins empty
    #[arg(long, value_name = "[NAME=]FILE")]
    load: Vec<PathBuf>,

    /// Write the contents to this file at the end, unless SIGKILL or a crash ends the server; with --export, NAME=FILE for each disk. A
    /// file that exists is replaced only if --load names it, too
    #[arg(long, value_name = "[NAME=]FILE")]
    save: Vec<PathBuf>,
}

/// The files of one disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) load: Option<PathBuf>,
    pub(super) save: Option<PathBuf>,
}

impl KeepArgs {
    /// The files of each disk. `names` are those of --export; none with --size.
    pub(super) fn files(&self, names: &[&str]) -> Result<Vec<Files>, Failure> {
        let mut all = vec![Files::default(); names.len().max(1)];
        for given in &self.load {
            let (index, path) = assigned("--load", given, names)?;
            set(&mut all[index].load, "--load", given, path)?;
        }
        for given in &self.save {
            let (index, path) = assigned("--save", given, names)?;
            set(&mut all[index].save, "--save", given, path)?;
        }
        Ok(all)
    }
}

/// Which disk a file is given for.
fn assigned(option: &str, given: &Path, names: &[&str]) -> Result<(usize, PathBuf), Failure> {
    if names.is_empty() {
        return Ok((0, given.to_owned()));
    }
    let bytes = given.as_os_str().as_bytes();
    let path = |name: &&str| bytes.strip_prefix(name.as_bytes())?.strip_prefix(b"=");
    let found = names.iter().enumerate();
    let found = found.filter_map(|(index, name)| Some((index, path(name)?)));
    let found: Vec<(usize, &[u8])> = found.collect();
    match found[..] {
        [(index, path)] => Ok((
            index,
            Path::new(std::ffi::OsStr::from_bytes(path)).to_owned(),
        )),
        [] => Err(Failure::Usage(format!(
            "{option} {}: expected NAME=FILE, since the disks have names: {names:?}",
            given.display()
        ))),
        [(one, _), (other, _), ..] => Err(Failure::Usage(format!(
            "{option} {}: this can be for the disk {:?} or for {:?}; rename one of them",
            given.display(),
            names[one],
            names[other]
        ))),
    }
}

fn set(
    file: &mut Option<PathBuf>,
    option: &str,
    given: &Path,
    path: PathBuf,
) -> Result<(), Failure> {
    if path.as_os_str().is_empty() {
        let text = format!("{option} {}: the file has no name", given.display());
        return Err(Failure::Usage(text));
    }
    if file.is_some() {
        let text = format!(
            "{option} {}: the disk has another file already",
            given.display()
        );
        return Err(Failure::Usage(text));
    }
    // The folder may be changed later, by nobody yet.
    *file = Some(std::path::absolute(path).map_err(|error| failed(&error))?);
    Ok(())
}

impl Files {
    /// Opens the file that the disk begins with. It may be missing if the disk has a size anyway and is saved to it: then this is
    /// the first time.
    pub(super) fn open(&self, has_size: bool) -> Result<Option<File>, Failure> {
        let Some(path) = &self.load else {
            return Ok(None);
        };
        match File::open(path) {
            Ok(file) => Ok(Some(file)),
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && has_size
                    && self.save.as_ref() == Some(path) =>
            {
                let path = path.display();
                output::note(&format!(
                    "--load {path}: no such file yet: the disk begins empty"
                ));
                Ok(None)
            }
            Err(error) => Err(failed(&format!("--load {}: {error}", path.display()))),
        }
    }

    /// Sees that the file can be made that the disk is saved to, and that nothing is lost by it.
    fn check(&self) -> Result<(), Failure> {
        let Some(path) = &self.save else {
            return Ok(());
        };
        let wrong = |text: &str| Err(failed(&format!("--save {}: {text}", path.display())));
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return wrong(&error.to_string()),
            Ok(found) if !found.is_file() => {
                return wrong("there is something else than a file, which stays as it is");
            }
            Ok(_) if self.load.as_ref() == Some(path) => {}
            Ok(_) => {
                return wrong("the file exists: add --load with it, or choose another name");
            }
        }
        let known = Identity::of(path).map_err(|error| failed(&error))?;
        let tried = replace(path, known, |_| Err(Refusal::OnlyTried));
        match tried {
            Ok(()) | Err(Refusal::OnlyTried) => Ok(()),
            Err(Refusal::Failed(text)) => wrong(&text),
        }
    }
}

/// Why a file was not made.
enum Refusal {
    OnlyTried,
    Failed(String),
}

impl Refusal {
    /// The file is somebody else's by now.
    fn foreign() -> Self {
        let text = "somebody made or changed this file since the server began: move it away";
        Self::Failed(text.to_owned())
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AlreadyExists => Self::foreign(),
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// What a file is known by, and by what a change of it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    file: (u64, u64),
    changed: (i64, i64),
}

impl Identity {
    /// Returns that of a file that may not be there.
    fn of(path: &Path) -> io::Result<Option<Self>> {
        match fs::symlink_metadata(path) {
            Ok(found) => Ok(Some(Self {
                file: (found.dev(), found.ino()),
                changed: (found.ctime(), found.ctime_nsec()),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Makes a file, for its owner only, when all of it is on the disk. It replaces the `known` one, and
/// no other.
fn replace(
    path: &Path,
    known: Option<Identity>,
    write: impl FnOnce(&File) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Refusal::Failed("expected the name of a file".to_owned()));
    };
    let folder = Folder::open(parent)?;
    let name = Path::new(name);
    match Identity::of(path)? {
        None => folder.create(name, write),
        found if found == known => folder.replace(name, |file| {
            write(file)?;
            match Identity::of(path)? == known {
                true => Ok(()),
                false => Err(Refusal::foreign()),
            }
        }),
        Some(_) => Err(Refusal::foreign()),
    }
}

/// Disks, and the files that they are saved to at the end.
pub(super) struct Keeping {
    disks: Vec<Kept>,
}

/// A disk and its files.
struct Kept {
    disk: Arc<StoreDisk>,
    files: Files,
    /// The file that it is saved to, as it was when the disk was loaded from it.
    known: Option<Identity>,
}

impl Kept {
    /// Says whether it is as it was at the begin.
    fn is_unchanged(&self) -> bool {
        self.disk.changes() == Changes::default()
    }
}

impl Keeping {
    /// Sees that all files can be made.
    pub(super) fn new(disks: &[Arc<StoreDisk>], files: Vec<Files>) -> Result<Self, Failure> {
        let mut saved: Vec<&PathBuf> = files
            .iter()
            .filter_map(|files| files.save.as_ref())
            .collect();
        saved.sort();
        if let Some(twice) = saved.windows(2).find(|pair| pair[0] == pair[1]) {
            let text = format!(
                "--save {}: two disks cannot have one file",
                twice[0].display()
            );
            return Err(Failure::Usage(text));
        }
        files.iter().try_for_each(Files::check)?;
        let disks = disks.iter().zip(files);
        let kept = disks.map(|(disk, files)| {
            let known = files.save.as_deref().map(Identity::of).transpose();
            Ok(Kept {
                disk: Arc::clone(disk),
                known: known.map_err(|error| failed(&error))?.flatten(),
                files,
            })
        });
        Ok(Self {
            disks: kept.collect::<Result<_, Failure>>()?,
        })
    }

    /// Says whether an end must wait until something is saved.
    pub(super) fn saves(&self) -> bool {
        self.disks.iter().any(|kept| kept.files.save.is_some())
    }

    /// Whether an end would lose something without anybody having asked for that.
    pub(super) fn would_lose(&self) -> bool {
        let mut disks = self.disks.iter();
        disks.any(|kept| kept.files.save.is_none() && kept.disk.unkept() > 0)
    }

    /// Saves what is to be saved, and tells what is lost. What cannot be saved is tried again at the next signal. Where the server
    /// `failed`, a disk that nobody changed is not written; nor is it to the file that it came from, which may be newer by now.
    pub(super) fn end(&self, failed: bool, ending: &Ending) {
        for kept in &self.disks {
            let Some(path) = &kept.files.save else {
                tell_loss(&kept.disk, self.disks.len() > 1);
                continue;
            };
            let is_there = failed || kept.files.load.as_ref() == Some(path) && path.exists();
            if !(is_there && kept.is_unchanged()) {
                save(kept, path, ending);
            }
        }
    }
}

fn save(kept: &Kept, path: &Path, ending: &Ending) {
    while let Err(text) = save_once(kept, path) {
        // Before it is asked for.
        ending.begin_again();
        let process = std::process::id();
        output::note(&format!(
            "--save {}: {text}. The contents of {} are still in process {process}, which waits: mend that, and send it a signal to \
             try again (kill {process}); kill -9 {process} gives them up",
            path.display(),
            kept.disk.title()
        ));
        ending.wait_for_any();
    }
}

/// Writes a disk's contents to a file, unless they are in it already.
fn save_once(kept: &Kept, path: &Path) -> Result<(), String> {
    let store = kept.disk.store();
    let written = replace(path, kept.known, |file| {
        let snapshot = write_snapshot(&store, file);
        snapshot.map_err(|refused| Refusal::Failed(refused.0))
    });
    match written {
        Ok(()) => Ok(()),
        Err(Refusal::OnlyTried) => Err("not written".to_owned()),
        Err(Refusal::Failed(text)) => Err(text),
    }
}

fn tell_loss(disk: &StoreDisk, are_many: bool) {
    let lost = disk.unkept();
    if lost == 0 {
        return;
    }
    let name = if are_many { "NAME=FILE" } else { "FILE" };
    output::note(&format!(
        "{} ends with {} of contents, which are lost; --save {name} would keep them",
        disk.title(),
        Size(lost)
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(load: &[&str], save: &[&str], names: &[&str]) -> Result<Vec<Files>, String> {
        let paths = |texts: &[&str]| texts.iter().map(PathBuf::from).collect();
        let arguments = KeepArgs {
            load: paths(load),
            save: paths(save),
        };
        arguments.files(names).map_err(|failure| match failure {
            Failure::Usage(text) | Failure::Failed(text) => text,
            Failure::Silent(_) => String::new(),
        })
    }

    #[test]
    fn files_are_those_of_the_disks_they_name() {
        let only = files(&["/a=b"], &["/c"], &[]).unwrap();
        assert_eq!(only[0].load, Some("/a=b".into()));
        assert_eq!(only[0].save, Some("/c".into()));
        let two = files(&["b=/x=y"], &["a=/1", "b=/2"], &["a", "b"]).unwrap();
        assert_eq!((&two[0].load, &two[1].load), (&None, &Some("/x=y".into())));
        assert_eq!(two[1].save, Some("/2".into()));
    }

    #[test]
    fn ambiguous_files_are_refused() {
        for (save, names, part) in [
            (
                &["/a", "/b"][..],
                &[][..],
                "the disk has another file already",
            ),
            (
                &["/a"],
                &["a"],
                "expected NAME=FILE, since the disks have names: [\"a\"]",
            ),
            (&["c=/a"], &["a", "b"], "expected NAME=FILE"),
            (&["a="], &["a"], "the file has no name"),
            (
                &["a=b=/x"],
                &["a", "a=b"],
                "can be for the disk \"a\" or for \"a=b\"",
            ),
        ] {
            let error = files(&[], save, names).unwrap_err();
            assert!(error.contains(part), "{save:?}: {error}");
        }
    }
}
