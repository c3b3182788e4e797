//! The copy of the workspace that gets broken.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;

#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
}

impl Tree {
    /// Brings the copy up to date. Files whose content is right are left alone: cargo goes by
    /// modification times, so they are not compiled again.
    pub(super) fn refresh(workspace: &Workspace, root: PathBuf) -> Result<Self> {
        fs::create_dir_all(&root)?;
        let tree = Self { root };
        let files = workspace.files()?;
        for file in &files {
            let wanted = fs::read(workspace.root().join(file))
                .with_context(|| file.display().to_string())?;
            tree.put(file, &wanted)?;
        }
        tree.remove_others(&files)?;
        Ok(tree)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Writes one file; its new modification time makes cargo compile it.
    pub(super) fn write(&self, file: &Path, text: &str) -> Result<()> {
        fs::write(self.root.join(file), text).with_context(|| file.display().to_string())
    }

    fn put(&self, file: &Path, wanted: &[u8]) -> Result<()> {
        let path = self.root.join(file);
        if fs::read(&path).is_ok_and(|present| present == wanted) {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, wanted).with_context(|| path.display().to_string())
    }

    /// Removes what the workspace no longer has, such as a test file that was renamed.
    fn remove_others(&self, files: &[PathBuf]) -> Result<()> {
        let wanted: HashSet<&Path> = files.iter().map(PathBuf::as_path).collect();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                let path = entry.path();
                if entry.file_type()?.is_dir() {
                    folders.push(path);
                } else if !wanted.contains(path.strip_prefix(&self.root)?) {
                    fs::remove_file(&path)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_files_keep_their_time_and_others_go() {
        let root = std::env::temp_dir().join(format!("xtask-tree-{}", std::process::id()));
        let tree = Tree { root: root.clone() };
        let kept = PathBuf::from("a/kept.rs");
        tree.put(&kept, b"same").expect("written");
        tree.put(Path::new("a/gone.rs"), b"old").expect("written");
        let time = |file: &Path| fs::metadata(root.join(file)).and_then(|meta| meta.modified());
        let before = time(&kept).expect("a time");

        tree.put(&kept, b"same").expect("written");
        tree.remove_others(std::slice::from_ref(&kept))
            .expect("removed");

        assert_eq!(time(&kept).expect("a time"), before);
        assert!(!root.join("a/gone.rs").exists());
        fs::remove_dir_all(&root).expect("cleaned up");
    }
}
