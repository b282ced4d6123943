//! What went wrong with a call, in the words of `domain`.

use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};

use super::guest::{Guest, Limit};
use crate::domain::{Fault, FaultKind};

/// Most bytes of a plugin's own sentence (a fault's message, a reason) that are kept.
const SENTENCE: usize = 2_048;

/// How far a call had come.
pub(super) enum Stage {
    /// The instance could not be made.
    Start(wasmtime::Error),
    /// The guest's function did not return, or what it returned could not be read.
    Run(wasmtime::Error),
}

/// A fault of this kind that another run would meet again.
pub(super) fn fault(kind: FaultKind, message: impl Into<String>) -> Fault {
    Fault { kind, message: message.into(), retryable: false }
}

/// A breach of the contract.
pub(super) fn bad_output(message: impl Into<String>) -> Fault {
    fault(FaultKind::BadOutput, message)
}

/// A plugin's sentence, cut to a length that fits a log.
pub(super) fn sentence(mut text: String) -> String {
    if text.len() > SENTENCE {
        text.truncate(text.floor_char_boundary(SENTENCE));
        text.push('…');
    }
    text
}

/// Whether an instance could not be made because its functions have other types than the contract's. Those are
/// only looked at when an instance is loaded.
pub(super) fn is_mismatch(error: &wasmtime::Error) -> bool {
    error.downcast_ref::<Limit>().is_none() && error.downcast_ref::<Trap>().is_none() && !is_ours(error)
}

/// Names what ended a call.
pub(super) fn of_call(stage: &Stage, guest: &Guest) -> Fault {
    let (Stage::Start(error) | Stage::Run(error)) = stage;
    if let Some(limit) = error.downcast_ref::<Limit>() {
        return of_limit(*limit);
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return of_trap(*trap, guest);
    }
    match stage {
        Stage::Run(error) if !is_ours(error) => of_copy(error),
        Stage::Run(error) | Stage::Start(error) => {
            let message = format!("the plugin engine failed: {error:#}");
            Fault { kind: FaultKind::Engine, message, retryable: true }
        }
    }
}

fn of_limit(limit: Limit) -> Fault {
    let kind = match limit {
        Limit::Time { .. } => FaultKind::Time,
        Limit::Memory { .. } | Limit::Table { .. } => FaultKind::Memory,
        Limit::Log { .. } => FaultKind::LogTooLarge,
    };
    fault(kind, limit.to_string())
}

fn of_trap(trap: Trap, guest: &Guest) -> Fault {
    match trap {
        Trap::StackOverflow => {
            fault(FaultKind::Stack, "it overflowed its stack; look for a recursion that does not end")
        }
        Trap::AllocationTooLarge => fault(FaultKind::Memory, "it asked for more memory than there can be"),
        trap => {
            let what = match trap {
                Trap::UnreachableCodeReached => "it gave up (a panic or an abort)".to_owned(),
                trap => format!("it trapped: {}", trap.to_string().trim_start_matches("wasm trap: ")),
            };
            let message = match guest.last_error() {
                Some(last) => format!("{what}; its last error was: {}", sentence(last.to_owned())),
                None => what,
            };
            fault(FaultKind::Trap, message)
        }
    }
}

/// The machine's or the pool's doing, not the guest's.
fn is_ours(error: &wasmtime::Error) -> bool {
    error.downcast_ref::<PoolConcurrencyLimitError>().is_some()
        || error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some())
}

/// The guest's memory did not hold what its types promise: too much of it, text that is not UTF-8, a list
/// that lies outside.
fn of_copy(error: &wasmtime::Error) -> Fault {
    // The error has no public type. That it passed through a frame of the guest tells a call of `log` from
    // the result.
    let too_much = error.chain().any(|cause| cause.to_string().contains("fuel allocated for hostcalls"));
    let while_running = error.downcast_ref::<WasmBacktrace>().is_some();
    match (too_much, while_running) {
        (true, true) => fault(FaultKind::LogTooLarge, "it logged more at once than can be copied; log less"),
        (true, false) => fault(FaultKind::OutputTooLarge, "it gave back more than can be copied; give back less"),
        (false, true) => bad_output(format!("what it logged can't be read: {}", error.root_cause())),
        (false, false) => bad_output(format!("what it gave back can't be read: {}", error.root_cause())),
    }
}
