//! The library: built, laid out as it is installed, its symbols.
//!
//! The layout and the names are those of `cargo cinstall`, whose installation would take longer
//! than all other steps (`docs/decisions/0017-c-abi.md`).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::{CRATE, header};
use crate::command::Cmd;
use crate::report::Failure;
use crate::workspace::Workspace;

const PACKAGE: &str = "zs-capi";

/// What a program that takes the static library needs beside it. `rustc --print native-static-libs`
/// names `-lgcc_s`, too, of which there is no static form: the compiler's driver adds what it needs
/// of that itself.
pub(super) const BESIDE_STATIC: [&str; 3] = ["-lpthread", "-lm", "-ldl"];

/// The library, built.
pub(super) struct Library<'w> {
    workspace: &'w Workspace,
    version: Version,
    /// Where cargo put it.
    folder: PathBuf,
}

/// The crate's version, and what follows from it.
struct Version {
    whole: String,
    /// Versions with the same one are compatible: the first number, or `0.` and the second while
    /// that is 0.
    compatible: String,
    description: String,
}

impl Version {
    fn of(workspace: &Workspace) -> Result<Self> {
        let packages = workspace.members()?.packages;
        let package = packages
            .iter()
            .find(|package| package.name.as_str() == PACKAGE)
            .with_context(|| format!("no member is named {PACKAGE}"))?;
        Ok(Self {
            whole: package.version.to_string(),
            compatible: compatible(package.version.major, package.version.minor),
            description: package.description.clone().unwrap_or_default(),
        })
    }

    fn soname(&self) -> String {
        format!("libzsmalloc.so.{}", self.compatible)
    }
}

fn compatible(major: u64, minor: u64) -> String {
    match major {
        0 => format!("0.{minor}"),
        major => major.to_string(),
    }
}

pub(super) fn build(workspace: &Workspace) -> Result<Library<'_>> {
    let version = Version::of(workspace)?;
    Cmd::cargo(workspace)
        .args(["rustc", "-p", PACKAGE, "--release", "--lib"])
        .args(["--crate-type", "cdylib,staticlib", "--"])
        .arg(format!("-Clink-arg=-Wl,-soname,{}", version.soname()))
        .run()?;
    Ok(Library {
        workspace,
        version,
        folder: workspace.target_dir("release"),
    })
}

impl Library<'_> {
    /// Lays headers, libraries and the file for pkg-config out under `prefix`.
    pub(super) fn install(&self, prefix: &Path) -> Result<()> {
        let (include, lib) = (prefix.join("include"), prefix.join("lib"));
        for folder in [&include, &lib.join("pkgconfig")] {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        let headers = self.workspace.root().join(CRATE).join("include");
        for entry in fs::read_dir(headers)? {
            let entry = entry?;
            copy(&entry.path(), &include.join(entry.file_name()))?;
        }
        let shared = format!("libzsmalloc.so.{}", self.version.whole);
        copy(&self.folder.join("libzs_capi.so"), &lib.join(&shared))?;
        copy(
            &self.folder.join("libzs_capi.a"),
            &lib.join("libzsmalloc.a"),
        )?;
        for link in [self.version.soname(), "libzsmalloc.so".to_owned()] {
            let link = lib.join(link);
            // Left from an earlier installation, of another version maybe.
            let _ = fs::remove_file(&link);
            symlink(&shared, &link).with_context(|| link.display().to_string())?;
        }
        fs::write(lib.join("pkgconfig/zsmalloc.pc"), self.pkg_config())?;
        Ok(())
    }

    /// Relative to where it lies, so that the folder can be moved.
    fn pkg_config(&self) -> String {
        let Version {
            whole, description, ..
        } = &self.version;
        let beside = BESIDE_STATIC.join(" ");
        format!(
            "prefix=${{pcfiledir}}/../..\n\
             libdir=${{prefix}}/lib\n\
             includedir=${{prefix}}/include\n\
             \n\
             Name: zsmalloc\n\
             Description: {description}\n\
             Version: {whole}\n\
             Libs: -L${{libdir}} -lzsmalloc\n\
             Cflags: -I${{includedir}}\n\
             Libs.private: {beside}\n"
        )
    }

    /// The shared library says its soname, and what it exports is what the headers declare.
    pub(super) fn check_symbols(&self) -> Result<()> {
        let dynamic = Cmd::new("readelf", self.workspace)
            .args(["--dynamic", "--wide"])
            .arg(self.folder.join("libzs_capi.so"))
            .run_and_read()?;
        let soname = format!("soname: [{}]", self.version.soname());
        if !dynamic.contains(&soname) {
            bail!("libzs_capi.so has no `{soname}`");
        }
        let listed = Cmd::new("nm", self.workspace)
            .args(["--dynamic", "--defined-only", "--format=posix"])
            .arg(self.folder.join("libzs_capi.so"))
            .run_and_read()?;
        let mut exported: Vec<&str> = listed
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        exported.sort_unstable();
        let headers = header::committed(self.workspace)?;
        let declared = declared(&headers);
        let only = |these: &[&str], those: &[&str]| {
            let lacking = these.iter().filter(|name| !those.contains(name));
            lacking.copied().collect::<Vec<_>>().join(", ")
        };
        if exported != declared {
            let what = format!(
                "exported but not declared: [{}]; declared but not exported: [{}]",
                only(&exported, &declared),
                only(&declared, &exported)
            );
            return Err(Failure::new(what, "cargo xtask capi").into());
        }
        if exported.is_empty() {
            bail!("the library exports nothing");
        }
        Ok(())
    }
}

/// A new file, not the old one overwritten: a program that runs may have that mapped.
fn copy(from: &Path, to: &Path) -> Result<()> {
    // Without one there is nothing to remove.
    let _ = fs::remove_file(to);
    fs::copy(from, to).with_context(|| format!("{} to {}", from.display(), to.display()))?;
    Ok(())
}

/// The functions that a header of cbindgen declares: outside of comments, a name before a
/// parenthesis, on a line that begins a declaration.
fn declared(header: &str) -> Vec<&str> {
    let begins = |line: &&str| line.starts_with(|c: char| c.is_ascii_lowercase());
    let lines = header
        .lines()
        .filter(begins)
        .filter(|line| !line.starts_with("typedef"));
    let name = |line: &'_ str| -> Option<usize> { line.find('(') };
    let mut names: Vec<&str> = lines
        .filter_map(|line| {
            let before = &line[..name(line)?];
            before.rsplit([' ', '*']).next()
        })
        .collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_told_from_the_rest() {
        let header = "/* zs_free( */\n#define A(b) 1\ntypedef int (*zs_fn)(void);\n\
            const char *zs_version(void);\n\
            enum zs_result zs_arena_create(const struct x *a,\n                size_t b);\n \
            * zs_arena_destroy() does\nstruct zs_spans {\n";
        assert_eq!(declared(header), ["zs_arena_create", "zs_version"]);
    }

    #[test]
    fn versions_are_compatible_by_their_first_number_that_is_not_0() {
        assert_eq!(compatible(0, 1), "0.1");
        assert_eq!(compatible(2, 1), "2");
    }
}
