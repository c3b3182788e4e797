//! Where the workspace lies, which files it has, and what `cargo metadata` says about it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use cargo_metadata::{CargoOpt, Metadata, MetadataCommand};

/// The manifest of the workspace itself.
pub(crate) const MANIFEST: &str = "Cargo.toml";

/// The workspace around the current folder.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// Asks cargo, so that the answer does not depend on where this program was built.
    pub(crate) fn find() -> Result<Self> {
        let output = Command::new("cargo")
            .args(["locate-project", "--workspace", "--message-format", "plain"])
            .output()
            .context("cargo locate-project")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let manifest = PathBuf::from(String::from_utf8(output.stdout)?.trim());
        let root = manifest
            .parent()
            .context("a manifest without a folder")?
            .to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => root.join(dir),
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A build folder of its own, for builds whose flags differ from everybody else's.
    pub(crate) fn target_dir(&self, name: &str) -> PathBuf {
        self.target.join(name)
    }

    /// The members alone.
    pub(crate) fn members(&self) -> Result<Metadata> {
        self.metadata_command(MANIFEST)
            .no_deps()
            .exec()
            .context("cargo metadata")
    }

    /// The packages of a manifest (named relative to the root) and everything they can depend on,
    /// with every feature, for every platform.
    pub(crate) fn dependencies(&self, manifest: &str) -> Result<Metadata> {
        self.metadata_command(manifest)
            .features(CargoOpt::AllFeatures)
            .exec()
            .with_context(|| format!("cargo metadata of {manifest}"))
    }

    fn metadata_command(&self, manifest: &str) -> MetadataCommand {
        let mut command = MetadataCommand::new();
        command.manifest_path(self.root.join(manifest));
        command
    }

    /// Files that are tracked, or new and not ignored; relative to the root, sorted.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        let mut files = match self.git_files() {
            Some(files) => files,
            // An unpacked source archive has no git beside it.
            None => walk(&self.root)?,
        };
        files.retain(|file| {
            // Somebody's stray build folder is not part of the sources.
            !file.iter().any(|part| part == "target") && self.root.join(file).is_file()
        });
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// Returns the commit that is checked out, where there is a repository.
    pub(crate) fn commit(&self) -> Option<String> {
        Some(self.git(&["rev-parse", "HEAD"])?.trim().to_owned())
    }

    /// Returns the files that differ from those of a commit; `None` if the repository does not have
    /// it.
    pub(crate) fn changed_since(&self, commit: &str) -> Option<Vec<PathBuf>> {
        let names = self.git(&["diff", "--name-only", "-z", commit, "--"])?;
        let names = names.split_terminator('\0');
        Some(names.map(PathBuf::from).collect())
    }

    fn git_files(&self) -> Option<Vec<PathBuf>> {
        let text = self.git(&[
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])?;
        let names = text.split_terminator('\0');
        Some(names.map(PathBuf::from).collect())
    }

    /// Returns what a command of git prints about the workspace, if it succeeds.
    fn git(&self, arguments: &[&str]) -> Option<String> {
        let output = Command::new("git")
            // CI often checks out as another user than the one that runs.
            .args(["-c", "safe.directory=*", "-C"])
            .arg(&self.root)
            .args(arguments)
            .output()
            .ok()?;
        if !output.status.success() {
            return None;
        }
        String::from_utf8(output.stdout).ok()
    }

    /// The Rust files among [`Self::files`].
    pub(crate) fn rust_files(&self) -> Result<Vec<PathBuf>> {
        let mut files = self.files()?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
        Ok(files)
    }

    /// The text of a file named relative to the root.
    pub(crate) fn read(&self, file: &Path) -> Result<String> {
        fs::read_to_string(self.root.join(file)).with_context(|| file.display().to_string())
    }
}

/// Every file below `root`, without build folders and git's own.
fn walk(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                if entry.file_name() != "target" && entry.file_name() != ".git" {
                    folders.push(path);
                }
            } else {
                files.push(path.strip_prefix(root)?.to_path_buf());
            }
        }
    }
    Ok(files)
}
