//! Why the engine can't start, and why a component is refused.

use crate::domain::Fault;

/// An error of the machinery beneath, in its own words.
type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

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
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// It does not begin as WebAssembly does.
    #[error("this is not WebAssembly: upload the .wasm file that your build wrote")]
    NotWasm,
    /// It is WebAssembly, but broken or of a kind that is not understood.
    #[error("this WebAssembly file can't be read; it may be cut off or need features that are not supported")]
    Malformed(#[source] Source),
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
        world: &'static str,
    },
    /// It is neither of the two worlds, or both.
    #[error("it must be either a transform (exports `transform`) or a connector (exports `render` and `interpret`)")]
    WrongWorld,
    /// It has the right names with other types.
    #[error("its functions do not have the types that hookmill:plugin@{} gives them", super::manifest::CONTRACT)]
    WrongTypes(#[source] Source),
    /// It was built against another version of the contract.
    #[error("it was built for {found}; this gateway speaks hookmill:plugin@{}", super::manifest::CONTRACT)]
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
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The compiler did not accept it.
    #[error("it can't be compiled")]
    Compile(#[source] Source),
    /// The compiler itself failed, or the gateway is shutting down.
    #[error("the compiler stopped before it was done")]
    Interrupted(#[source] Source),
}
