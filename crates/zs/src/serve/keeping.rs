//! Contents that outlive the server: files that disks begin with, and files that they are saved to
//! at the end.

use super::disk::{Changes, StoreDisk};
use super::lifetime::Lifetime;
use super::replacing::{FOREIGN, Identity, Refusal, Target};
use super::snapshots::write_snapshot;
use crate::failure::{Failure, failed};
use crate::output;
use crate::units::Size;
use clap::Args;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files of disks.
#[derive(Clone, Debug, Args)]
pub(super) struct KeepArgs {
    /// Begin with the contents of this file, which --save or `zs ctl snapshot` made, and with its
    /// size, block size and algorithms; with --export, NAME=FILE for each disk. The file may
    /// be missing if --size is given and --save names it, too: the disk then begins empty
    #[arg(long, value_name = "[NAME=]FILE")]
    load: Vec<PathBuf>,

    /// Write the contents to this file at the end, unless SIGKILL or a crash ends the server; with
    /// --export, NAME=FILE for each disk. A file that exists is replaced only if --load names
    /// it, too
    #[arg(long, value_name = "[NAME=]FILE")]
    save: Vec<PathBuf>,
}

/// The files of one disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) load: Option<PathBuf>,
    pub(super) save: Option<PathBuf>,
    /// The file that the disk was loaded from, as it was when it was opened.
    loaded: Option<Identity>,
}

impl KeepArgs {
    /// Returns the files of each disk. `names` are those of --export; none with --size.
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

/// The disk that a file is given for.
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
    /// Opens the file that the disk begins with. It may be missing if the disk has a size anyway
    /// and is saved to it: then this is the first time.
    pub(super) fn open(&mut self, has_size: bool) -> Result<Option<File>, Failure> {
        let Some(path) = &self.load else {
            return Ok(None);
        };
        // Of the open file, since the path may lead to another one by now.
        let opened =
            File::open(path).and_then(|file| Ok((Identity::from(&file.metadata()?), file)));
        match opened {
            Ok((identity, file)) => {
                self.loaded = Some(identity);
                Ok(Some(file))
            }
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
            Err(error) => Err(failed(format!("--load {}: {error}", path.display()))),
        }
    }

    /// Sees that the file can be made that the disk is saved to, and that nothing is lost by it.
    fn target(&self) -> Result<Option<Target>, Failure> {
        let Some(path) = &self.save else {
            return Ok(None);
        };
        let mut known = None;
        let wrong = |text: &str| Err(failed(format!("--save {}: {text}", path.display())));
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return wrong(&error.to_string()),
            Ok(found) if !found.is_file() => {
                return wrong("there is something else than a file, which stays as it is");
            }
            Ok(found) if self.loaded == Some(Identity::from(&found)) => known = self.loaded,
            Ok(_) if self.load.as_ref() == Some(path) => return wrong(FOREIGN),
            Ok(_) => {
                return wrong("the file exists: add --load with it, or choose another name");
            }
        }
        let target = Target::new(path, known);
        match target.write(|_| Err(Refusal::OnlyTried)) {
            Ok(()) | Err(Refusal::OnlyTried) => Ok(Some(target)),
            Err(Refusal::Failed(text)) => wrong(&text),
        }
    }
}

/// By what two paths are found to lead to one file.
#[derive(PartialEq, Eq, Hash)]
enum Way {
    Path(PathBuf),
    /// A name in a folder, whatever that is called.
    Place((u64, u64), OsString),
    File((u64, u64)),
}

impl Way {
    fn all(path: &Path) -> impl Iterator<Item = Self> {
        let number = |found: fs::Metadata| (found.dev(), found.ino());
        let folder = path.parent().and_then(|parent| fs::metadata(parent).ok());
        let place = folder.map(number).zip(path.file_name());
        let place = place.map(|(folder, name)| Self::Place(folder, name.to_owned()));
        let file = fs::symlink_metadata(path).ok().map(number).map(Self::File);
        let path = Self::Path(path.to_owned());
        [Some(path), place, file].into_iter().flatten()
    }
}

/// Sees that each disk is saved to a file of its own.
fn check_apart(disks: &[Arc<StoreDisk>], files: &[Files]) -> Result<(), Failure> {
    let mut taken: HashMap<Way, (usize, &Path)> = HashMap::new();
    let saved = files.iter().enumerate();
    for (index, path) in saved.filter_map(|(index, files)| Some((index, files.save.as_ref()?))) {
        for way in Way::all(path) {
            if let Some((other, elsewhere)) = taken.insert(way, (index, path))
                && other != index
            {
                return Err(Failure::Usage(format!(
                    "--save {}={} and {}={}: two disks cannot have one file",
                    disks[other].name(),
                    elsewhere.display(),
                    disks[index].name(),
                    path.display()
                )));
            }
        }
    }
    Ok(())
}

/// Disks, and the files that they are saved to at the end.
pub(super) struct Keeping {
    disks: Vec<Kept>,
}

/// A disk and its files.
struct Kept {
    disk: Arc<StoreDisk>,
    load: Option<PathBuf>,
    save: Option<Target>,
}

impl Kept {
    /// Says whether it is as it was at the begin.
    fn is_unchanged(&self) -> bool {
        self.disk.changes() == Changes::default()
    }

    /// Says whether it is saved to the file that it came from, or would have come from.
    fn goes_back(&self, target: &Target) -> bool {
        target.was_there() || self.load.as_deref() == Some(target.path())
    }
}

impl Keeping {
    /// Sees that all files can be made.
    pub(super) fn new(disks: &[Arc<StoreDisk>], files: Vec<Files>) -> Result<Self, Failure> {
        check_apart(disks, &files)?;
        let disks = disks.iter().zip(files);
        let kept = disks.map(|(disk, files)| {
            Ok(Kept {
                disk: Arc::clone(disk),
                save: files.target()?,
                load: files.load,
            })
        });
        Ok(Self {
            disks: kept.collect::<Result<_, Failure>>()?,
        })
    }

    /// Says whether an end must wait until something is saved.
    pub(super) fn saves(&self) -> bool {
        self.disks.iter().any(|kept| kept.save.is_some())
    }

    /// Says whether an end would lose something without anybody having asked for that.
    pub(super) fn would_lose(&self) -> bool {
        let mut disks = self.disks.iter();
        disks.any(|kept| kept.save.is_none() && kept.disk.unkept() > 0)
    }

    /// Saves what is to be saved, and tells what is lost. What cannot be saved is tried again at
    /// the next signal. Where the server `failed`, a disk that nobody changed is not written;
    /// nor is it to the file that it came from, which may be newer by now.
    pub(super) fn end(&self, failed: bool, lifetime: &Lifetime) {
        for kept in &self.disks {
            let Some(target) = &kept.save else {
                tell_loss(&kept.disk, self.disks.len() > 1);
                continue;
            };
            // A load or a reset that zs ctl asked for may be under way still.
            kept.disk.seal();
            let is_there = failed || kept.goes_back(target) && target.path().exists();
            if !(is_there && kept.is_unchanged()) {
                save(&kept.disk, target, lifetime);
            }
        }
    }
}

fn save(disk: &StoreDisk, target: &Target, lifetime: &Lifetime) {
    while let Err(text) = save_once(disk, target) {
        // Before it is asked for.
        lifetime.begin_again();
        let process = std::process::id();
        output::note(&format!(
            "--save {}: {text}. The contents of {} are still in process {process}, which waits: mend that, and send it a signal to \
             try again (kill {process}); kill -9 {process} gives them up",
            target.path().display(),
            disk.title()
        ));
        lifetime.wait_for_any();
    }
}

/// Writes a disk's contents to a file, unless they are in it already.
fn save_once(disk: &StoreDisk, target: &Target) -> Result<(), String> {
    let store = disk.store();
    let written = target.write(|file| {
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

    /// The disk has the contents of the file that was opened, not of what is there a moment later.
    #[test]
    fn what_is_loaded_is_known_by_the_open_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.snap");
        fs::write(&path, "loaded").unwrap();
        let name = path.to_str().unwrap();
        let mut own = files(&[name], &[name], &[]).unwrap().remove(0);
        own.open(true).unwrap().unwrap();
        assert!(own.target().unwrap().unwrap().was_there());
        let newer = folder.path().join("newer");
        fs::write(&newer, "newer").unwrap();
        fs::rename(&newer, &path).unwrap();
        let refused = own.target().err().map(|failure| match failure {
            Failure::Usage(text) | Failure::Failed(text) => text,
            Failure::Silent(_) => String::new(),
        });
        let text = refused.unwrap();
        assert!(
            text.contains("somebody made or changed this file"),
            "{text}"
        );
        // By another path it is the same file.
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut own = files(&[link.to_str().unwrap()], &[name], &[])
            .unwrap()
            .remove(0);
        own.open(true).unwrap().unwrap();
        assert!(own.target().unwrap().unwrap().was_there());
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
