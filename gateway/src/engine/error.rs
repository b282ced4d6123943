//! Why the engine can't start, and why a component is refused.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::Fault;

/// An error of the machinery beneath, in its own words.
type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The same as it passes from one process to another: its words, and those of what caused it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{0}")]
pub struct Cause(String);

impl Cause {
    /// Of an error of whatever kind; those that know what caused them say so.
    pub(super) fn of(error: impl std::fmt::Display) -> Self {
        Self(format!("{error:#}"))
    }

    /// Of words.
    pub(super) fn said(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

/// The engine can't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration or the machine does not allow a pool of this size.
    #[error("the plugin engine can't be set up; lower engine.instances or engine.memory, or lift `ulimit -v`")]
    Setup(#[source] Source),
    /// No thread for the ticker, or none for slow plugins.
    #[error("the threads that plugins need can't be started; lift the limit on processes (`ulimit -u`)")]
    Threads(#[source] std::io::Error),
}

/// A component is refused, or could not be installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// It does not begin as WebAssembly does.
    #[error("this is not WebAssembly: upload the .wasm file that your build wrote")]
    NotWasm,
    /// It is WebAssembly, but broken or of a kind that is not understood.
    #[error("this WebAssembly file can't be read; it may be cut off or need features that are not supported")]
    Malformed(#[source] Cause),
    /// It is larger than allowed.
    #[error("the file has {size} bytes; at most {limit} are allowed. Build for release, with strip and lto")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// It wants something of WASI.
    #[error(
        "it imports {name}, which is WASI: a plugin has no files, clock, randomness or network. \
         Build for wasm32-unknown-unknown, or with WASI stubbed out"
    )]
    Wasi {
        /// What it imports.
        name: String,
    },
    /// It wants something else than `log`.
    #[error("it imports {name}; a plugin may import hookmill:plugin/host and nothing else")]
    ForbiddenImport {
        /// What it imports.
        name: String,
    },
    /// It lacks a function.
    #[error(
        "it does not export {name:?} as the world {world:?} of hookmill:plugin wants it; is the SDK's macro there?"
    )]
    MissingExport {
        /// The function.
        name: String,
        /// The world.
        world: String,
    },
    /// It is neither of the two worlds, or both.
    #[error("it must be either a transform (exports `transform`) or a connector (exports `render` and `interpret`)")]
    WrongWorld,
    /// It has the right names with other types.
    #[error("its functions do not have the types that the version of hookmill:plugin it names gives them")]
    WrongTypes(#[source] Cause),
    /// It was built against another version of the contract.
    #[error("it was built for {found}; this gateway speaks {}", super::contract::Contract::spoken())]
    Contract {
        /// What it names.
        found: String,
    },
    /// It is made of more parts, or of larger ones, than allowed.
    #[error(
        "it asks for too much: {detail}. Allowed are {} core instances, {} memories and {} tables",
        super::runtime::CORE_INSTANCES,
        super::runtime::MEMORIES,
        super::runtime::TABLES
    )]
    TooMuch {
        /// What of, and how much is allowed.
        detail: String,
    },
    /// `describe` did not end well.
    #[error("its `describe` failed")]
    Describe(#[source] Fault),
    /// Its manifest breaks a rule.
    #[error("its manifest's {field} {problem}")]
    Manifest {
        /// The field, as `wit/plugin.wit` spells it.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The compiler did not accept it.
    #[error("it can't be compiled")]
    Compile(#[source] Cause),
    /// Compiling takes too much processor time.
    #[error(
        "compiling it takes more than the {} s of processor time there are for it; make it smaller, or split it",
        limit.as_secs_f64()
    )]
    TooSlow {
        /// How much there is.
        limit: Duration,
    },
    /// Compiling takes too much memory.
    #[error("compiling it takes more than the {limit} bytes of memory there are for it; make it smaller, or split it")]
    TooHungry {
        /// How much there is.
        limit: u64,
    },
    /// What is compiled of it is out of all proportion.
    #[error(
        "compiled, it has {size} bytes, and of a file as large as this at most {limit} are kept. Data that lies far \
         apart in its memories may be why: all that is between is kept, too"
    )]
    TooBulky {
        /// Bytes of what was compiled.
        size: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Reading or compiling it leads round in a circle, or too deep.
    #[error("its types lie in one another too deep, or in a circle, so that it can't be read")]
    TooDeep,
    /// The compiler crashed over it.
    #[error("the compiler crashed over it. If your build tool made it as it is, please report this with the file")]
    Crashed(#[source] Cause),
    /// The compiler could not be started, or the gateway is shutting down.
    #[error("the compiler stopped before it was done")]
    Interrupted(#[source] Cause),
    /// There is no folder to keep what is compiled.
    #[error("uploaded plugins need the folder for compiled plugins, which can't be used: see the gateway's log")]
    NoFolder,
}
