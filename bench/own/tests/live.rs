//! `live` with stand-ins for the programs and for zs, from the command line to the CSV file.

#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// Says that it is filled, and waits.
const PROGRAM: &str = "#!/bin/sh
if [ \"$1\" = --version ]; then echo 'stand-in 1.0'; exit; fi
echo \"ready $$\"
exec /bin/cat > /dev/null
";

/// Ratios of all pages, and others of a sample; the memory is what the bars are for.
const ZS: &str = r#"#!/bin/sh
[ "$*" = "estimate --json --pid $4 --sample 1T" ] && ratio=4 || ratio=4.1
[ -e "/proc/$4" ] || { echo "no process $4" >&2; exit 1; }
printf '{"page_size":4096,"total":{"memory_bytes":1073741824,"sampled_pages":65536,'
printf '"codecs":{"lz4":{"ratio":3.5,"error":0.0},"zstd":{"ratio":%s,"error":0.0}}}}' $ratio
"#;

fn executable(folder: &TempDir, name: &str, text: &str) {
    let path = folder.path().join(name);
    fs::write(&path, text).expect("the script");
    fs::set_permissions(path, Permissions::from_mode(0o755)).expect("the script's mode");
}

fn live(programs: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench-own"));
    command.env("PATH", programs).arg("live").args(arguments);
    command.output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn what_is_installed_is_measured_and_what_is_not_is_said() {
    let folder = TempDir::new().expect("a folder");
    executable(&folder, "python3", PROGRAM);
    executable(&folder, "zs", ZS);
    let path = |name| folder.path().join(name).display().to_string();
    let output = live(
        folder.path(),
        &["--zs", &path("zs"), "--runs", "2", "--csv", &path("csv")],
    );
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{errors}");
    for missing in ["apt-get install nodejs", "apt-get install redis-server"] {
        assert!(errors.contains(missing), "{errors}");
    }
    for bar in [
        "bar python3: lz4 off, %, at most 2: 0 met",
        "bar python3: zstd off, %, at most 2: 2.5 missed",
        "bar node: wall, s, at most 4: not measured",
        "bar redis-server: zstd off, %, at most 2: not measured",
    ] {
        assert!(said.contains(bar), "{said}");
    }
    let csv = fs::read_to_string(path("csv")).expect("the CSV file");
    assert!(csv.contains("\n# python3: stand-in 1.0\n"), "{csv}");
    assert!(csv.contains("\nnode,,,"), "{csv}");
}

#[test]
fn what_cannot_be_measured_is_said() {
    let folder = TempDir::new().expect("a folder");
    executable(&folder, "ends", "#!/bin/sh\nexit 3\n");
    executable(&folder, "chats", "#!/bin/sh\necho hello\n");
    executable(&folder, "python3", PROGRAM);
    let path = |name| folder.path().join(name).display().to_string();
    for (zs, part) in [
        (path("none"), "build it by `cargo build"),
        (path("ends"), "ended with exit status: 3"),
        (path("chats"), "something else than an estimate"),
    ] {
        let output = live(folder.path(), &["--zs", &zs]);
        let errors = text(&output.stderr);
        assert!(!output.status.success());
        assert!(errors.contains(part), "{errors}");
    }
    executable(&folder, "python3", "#!/bin/sh\necho no memory\n");
    let output = live(folder.path(), &["--zs", &path("chats")]);
    let errors = text(&output.stderr);
    assert!(
        errors.contains("python3 ended before it was filled"),
        "{errors}"
    );
}
