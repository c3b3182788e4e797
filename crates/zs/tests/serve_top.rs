//! `zs ctl top` on a terminal.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

mod common;

use common::server::Server;
use common::*;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::Child;

const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";

/// `top` on a terminal of 80 x 24.
struct Shown {
    child: Child,
    terminal: File,
    text: String,
}

impl Shown {
    fn start(server: &Server) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&ours, size).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let theirs = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap());
        let theirs = theirs.unwrap();
        let (out, err) = (theirs.try_clone().unwrap(), theirs.try_clone().unwrap());
        let mut command = zs(&["ctl", "--socket"]);
        command.arg(server.socket()).arg("top").env("TERM", "xterm");
        let child = command
            .stdin(theirs)
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap();
        Self {
            child,
            terminal: File::from(ours),
            text: String::new(),
        }
    }

    /// Reads until `part` is there. Blanks are not drawn where there were blanks before, so it is a
    /// word.
    fn until(&mut self, part: &str) {
        let mut buffer = [0; 4096];
        while !self.text.contains(part) {
            let got = self.terminal.read(&mut buffer).unwrap();
            self.text.push_str(&String::from_utf8_lossy(&buffer[..got]));
        }
    }

    /// Whether the terminal echoes and gathers lines, as it did before.
    fn is_usual(&self) -> bool {
        let modes = tcgetattr(&self.terminal).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }
}

#[test]
fn a_disk_is_shown_until_q() {
    let server = Server::start(&["--secondary", "zstd"]);
    let mut client = server.client();
    assert_eq!(client.write(0, &[7; 1 << 20]).unwrap(), 0);
    let mut top = Shown::start(&server);
    top.until("quits");
    assert!(top.text.contains(ENTER));
    assert!(top.text.contains("ratio"), "{}", top.text);
    assert!(!top.is_usual());
    top.terminal.write_all(b"xq").unwrap();
    top.until(LEAVE);
    assert!(top.child.wait().unwrap().success());
    assert!(top.is_usual());
    server.terminate();
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    let server = Server::start(&[]);
    let mut top = Shown::start(&server);
    top.until("quits");
    kill_process(Pid::from_child(&top.child), Signal::TERM).unwrap();
    top.until(LEAVE);
    assert!(top.child.wait().unwrap().success());
    assert!(top.is_usual());
    // So does the end of the server.
    let mut top = Shown::start(&server);
    top.until("quits");
    server.terminate();
    top.until("the server has ended");
    assert!(top.text.contains(LEAVE));
    assert_eq!(top.child.wait().unwrap().code(), Some(1));
    assert!(top.is_usual());
}

#[test]
fn without_a_terminal_it_says_what_else_there_is() {
    let server = Server::start(&[]);
    let text = server.refusal(&["top"]);
    assert!(
        text.contains("needs a terminal") && text.contains("metrics"),
        "{text}"
    );
    let output = server.ctl(&["top", "--every", "0"]);
    assert!(failure(&output, 2).contains("from 1 to 30"));
    server.terminate();
}
