//! Child processes that cannot outlive their test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, mpsc};
use std::time::Duration;

use super::eventually;

/// The signals that tests send, by the names that `kill` and `setpriv` know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Kill,
    Term,
    Int,
    Quit,
    Hup,
    Usr1,
    Stop,
    Cont,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "KILL",
            Self::Term => "TERM",
            Self::Int => "INT",
            Self::Quit => "QUIT",
            Self::Hup => "HUP",
            Self::Usr1 => "USR1",
            Self::Stop => "STOP",
            Self::Cont => "CONT",
        }
    }
}

/// What to run, and how it is to end.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// Run as this unprivileged user (only root can, and only root needs to).
    pub(crate) user: Option<&'static str>,
    pub(crate) dir: PathBuf,
    /// Receives standard output and standard error.
    pub(crate) log: PathBuf,
    /// Sent on drop, and by the kernel when the test process dies.
    pub(crate) end: Signal,
}

/// A running child. Dropping it ends it and waits for its end.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: &'static str,
    log: PathBuf,
    end: Signal,
}

impl Process {
    pub(crate) fn spawn(spec: Spec) -> Self {
        let log = File::options().create(true).append(true).open(&spec.log).expect("a log file");
        let mut command = wrapped(&spec);
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        let child = spawn_from_lasting_thread(command)
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", spec.name));
        Self { child, name: spec.name, log: spec.log, end: spec.end }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(signal, &[self.id()]);
    }

    /// `kill -9`, and gone when this returns.
    pub(crate) fn kill(&mut self) {
        // The child may have ended by itself already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for the child to end by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        eventually(&what, async || self.child.try_wait().expect("a child to wait for")).await
    }

    /// Everything it has printed so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until `ready`, or panics with the log when the child ends before that.
    pub(crate) async fn ready<F>(&mut self, mut ready: F)
    where
        F: AsyncFnMut() -> bool,
    {
        let what = format!("{} becoming ready", self.name);
        let outcome = eventually(&what, async || {
            if ready().await {
                return Some(None);
            }
            self.child.try_wait().expect("a child to wait for").map(Some)
        })
        .await;
        if let Some(status) = outcome {
            panic!("{} ended with {status} before it was ready:\n{}", self.name, self.log());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        if self.end != Signal::Kill {
            self.signal(self.end);
            // Blocking, because drop is; bounded, because the child may be stopped or stuck.
            for _ in 0..400 {
                if matches!(self.child.try_wait(), Ok(Some(_))) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        self.kill();
    }
}

/// Sends a signal through the shell's builtin: the system call would need `unsafe`.
pub(crate) fn send(signal: Signal, pids: &[u32]) {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let script = format!("kill -s {} {} 2>/dev/null", signal.name(), pids.join(" "));
    // A process that has ended meanwhile is no error: it is what most signals are for.
    let _ = Command::new("/bin/sh").args(["-c", &script]).status();
}

/// The direct children of a process.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .collect()
}

/// Runs a short program to its end as `user`; panics with its output when it fails.
pub(crate) fn run(program: &Path, args: &[&str], user: Option<&'static str>, dir: &Path) {
    let spec = Spec {
        name: "a helper program",
        program: program.to_owned(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: Vec::new(),
        user,
        dir: dir.to_owned(),
        log: PathBuf::new(),
        end: Signal::Kill,
    };
    let mut command = wrapped(&spec);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = spawn_from_lasting_thread(command)
        .and_then(Child::wait_with_output)
        .unwrap_or_else(|error| panic!("cannot run {}: {error}", program.display()));
    assert!(
        output.status.success(),
        "{} {args:?} failed: {}",
        program.display(),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The command, under util-linux's `setpriv`, with an environment of its own.
fn wrapped(spec: &Spec) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", spec.end.name()]);
    if let Some(user) = spec.user {
        command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
    }
    command.arg("--").arg(&spec.program).args(&spec.args);
    command.env_clear().current_dir(&spec.dir).stdin(Stdio::null());
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).env("LANG", "C.UTF-8");
    command.envs(spec.env.iter().map(|(key, value)| (key, value)));
    command
}

/// The kernel sends the parent-death signal when the *thread* that forked ends, and threads of a
/// test runtime come and go: so one thread that lasts as long as the process does all forking.
fn spawn_from_lasting_thread(command: Command) -> std::io::Result<Child> {
    type Order = (Command, mpsc::Sender<std::io::Result<Child>>);
    static ORDERS: LazyLock<mpsc::Sender<Order>> = LazyLock::new(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                let _ = reply.send(command.spawn());
            }
        });
        orders
    });
    let (reply, answer) = mpsc::channel();
    ORDERS.send((command, reply)).expect("the forking thread");
    answer.recv().expect("the forking thread")
}
