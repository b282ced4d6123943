//! The command line.
//!
//! Commands that run something here (`serve`, `demo`, `bench`, `store`), commands that call a gateway through its API
//! (`remote` and what stands on it: `account`, `events`, `deliveries`, `subscriptions`, `listen`), and `plugin`, which
//! does both.

mod account;
mod bench;
mod client;
mod deliveries;
mod demo;
mod difference;
mod events;
mod folders;
pub mod golden;
mod listen;
mod patch;
mod patience;
mod plugin;
mod receiver;
mod remote;
mod rerun;
mod scratch;
mod serve;
mod store;
mod subscriptions;
mod withheld;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use figment::value::Value;
use serde_json::json;

use self::remote::Refused;
use crate::config::{self, Config};
use crate::engine::compile_worker;
use crate::priority;

/// A multi-tenant webhook transformation gateway: events in, WebAssembly transforms, signed deliveries out.
#[derive(Parser)]
#[command(name = "hookmill", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway.
    Serve(serve::Serve),
    /// See a gateway at work: a tour with Slack, Zapier, Google Sheets and others played on this machine
    Demo(demo::Demo),
    /// Measure the gateway on this machine: it is started, loaded and received from, and nothing may be lost
    Bench(bench::Bench),
    /// Forward what is posted, signed, and keep nothing: what `bench --bare` measures
    #[command(hide = true)]
    BareForward(bench::Forward),
    /// Compile one plugin, told and answered on standard input and output: what the gateway starts for each upload
    #[command(hide = true)]
    CompileWorker,
    /// Try a key and save it with its server.
    Login(account::Login),
    /// Saved servers and keys.
    Profile(account::Saved),
    /// Post events, and watch what comes in.
    Events(events::Events),
    /// What became of events, and sending again.
    Deliveries(deliveries::Deliveries),
    /// Who gets what.
    Subscriptions(subscriptions::Subscriptions),
    /// Hand a subscription's deliveries on to a program on this machine, while it is being written.
    Listen(listen::Listen),
    /// For authors of plugins.
    Plugin(plugin::Plugin),
    /// A store that is not served: check it, read it out, make a new one of it.
    Store(store::Store),
    /// Print every setting with its default and meaning, as a file for --config.
    Config,
    /// Print what makes a shell complete commands: in bash `source <(hookmill completions bash)`.
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Where the settings come from.
#[derive(Args, Debug, Clone, Default)]
struct Settings {
    /// The public listener [server.listen]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// The admin listener: metrics and health [server.admin_listen]
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin_listen: Option<String>,
    /// What the gateway is called from outside [server.public_url]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// The folder everything is kept in [store.data]
    #[arg(long, value_name = "FOLDER")]
    data: Option<String>,
    /// A folder of profiles beside those that come with Hookmill [profiles.dir]
    #[arg(long, value_name = "FOLDER")]
    profiles: Option<String>,
    /// A file of settings; `hookmill config` prints one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A range of private addresses that targets may have; may be repeated
    #[arg(long, value_name = "CIDR")]
    dangerous_allow_targets: Vec<String>,
    /// Send one host's requests elsewhere: host=http://address:port; may be repeated
    #[arg(long, value_name = "HOST=URL")]
    dangerous_map_host: Vec<String>,
}

impl Settings {
    fn load(&self) -> Result<Config, config::Error> {
        let one = [
            ("server.listen", &self.listen),
            ("server.admin_listen", &self.admin_listen),
            ("server.public_url", &self.public_url),
            ("store.data", &self.data),
            ("profiles.dir", &self.profiles),
        ];
        let many = [
            ("egress.dangerous_allow_targets", &self.dangerous_allow_targets),
            ("egress.dangerous_map_hosts", &self.dangerous_map_host),
        ];
        let one = one.into_iter().filter_map(|(key, value)| Some((key, Value::from(value.clone()?))));
        let many = many.into_iter().filter(|(_, values)| !values.is_empty());
        let many = many.map(|(key, values)| (key, Value::from(values.clone())));
        Config::load(self.config.as_deref(), &one.chain(many).collect::<Vec<_>>())
    }
}

/// Runs the command line; errors end up on standard error as sentences. Whoever wants JSON also gets what a gateway refuses
/// on standard output, as the gateway says it.
#[must_use]
pub fn run() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let done = match cli.command {
        Command::Serve(serve) => serve.run(),
        Command::Demo(demo) => demo.run(),
        Command::Bench(bench) => bench.run(),
        Command::BareForward(forward) => forward.run(),
        Command::CompileWorker => compile_worker(&mut std::io::stdin().lock(), &mut std::io::stdout().lock()),
        Command::Login(login) => login.run(),
        Command::Profile(saved) => saved.run(),
        Command::Events(events) => events.run(),
        Command::Deliveries(deliveries) => deliveries.run(),
        Command::Subscriptions(subscriptions) => subscriptions.run(),
        Command::Listen(listen) => listen.run(),
        Command::Plugin(plugin) => plugin.run(),
        Command::Store(store) => store.run(),
        Command::Config => {
            print(config::DEFAULTS);
            Ok(())
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "hookmill", &mut script);
            print(&String::from_utf8_lossy(&script));
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint_line(&format!("hookmill: {error:#}"));
            let problem = error.downcast_ref::<Refused>().and_then(|refused| refused.problem.as_ref());
            if let Some(problem) = problem.filter(|_| wants_json(&matches)) {
                print(&json!({ "error": problem }).to_string());
            }
            ExitCode::FAILURE
        }
    }
}

/// Whether `--json` was given to a command or one above it.
fn wants_json(matches: &ArgMatches) -> bool {
    let is_given = matches.try_get_one::<bool>("json").is_ok_and(|given| given == Some(&true));
    is_given || matches.subcommand().is_some_and(|(_, below)| wants_json(below))
}

/// Runs `work` on a runtime with as many workers as the machine has cores.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    // The first threads to start are the workers; later ones block, or compute for longer than others should notice.
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let started = AtomicUsize::new(0);
    let begin = move || {
        if started.fetch_add(1, Ordering::Relaxed) < workers {
            // Refused, everyone waits a little longer where cores are short.
            let _ = priority::prompt();
        }
    };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(workers).on_thread_start(begin).enable_all().build()?.block_on(work)
}

/// Logs go to standard error: `HOOKMILL_LOG=debug`, `HOOKMILL_LOG=hookmill::pipeline=trace`.
fn log_to_stderr(default: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("HOOKMILL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    // A second gateway in one process keeps the first one's.
    let _ =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).try_init();
}

/// Prints; a reader that went away (`| head`) is no error worth words.
fn print(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn eprint_line(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_flags_go_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn who_wants_json() {
        for (line, wanted) in [
            ("hookmill deliveries list --json", true),
            ("hookmill deliveries --json list", true),
            ("hookmill plugin run - --json", true),
            ("hookmill plugin run -", false),
            ("hookmill deliveries list", false),
            ("hookmill config", false),
        ] {
            let matches = Cli::command().try_get_matches_from(line.split(' ')).unwrap();
            assert_eq!(wants_json(&matches), wanted, "{line}");
        }
    }
}
