//! What the macros call: from the contract's calls to an author's functions.

use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;

use crate::bindings::connector::Verdicts;
use crate::{Connector, Decision, Event, Fault, Manifest, Outcome, Response, Transform, Verdict, WireManifest};

/// The manifest as the contract has it.
#[must_use]
pub fn describe<C: schemars::JsonSchema>(manifest: &Manifest) -> WireManifest {
    // Without a mention the linker leaves out the function by which the host hands over arguments.
    #[cfg(target_arch = "wasm32")]
    wit_bindgen::rt::maybe_link_cabi_realloc();
    // Inlined, so that a form and the gateway's search for secrets see each field where it stands.
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<C>();
    manifest.to_wit(schema.to_value().to_string())
}

fn config<C: DeserializeOwned>(text: &str) -> Result<C, Fault> {
    serde_json::from_str(text).map_err(|error| Fault::new(format!("config: {error}")))
}

/// One call of a transform.
///
/// # Errors
/// If the config does not fit its type, and whatever the author reports.
pub fn transform<T: Transform>(event: Event, text: &str) -> Result<Decision, Fault> {
    T::transform(event, &config(text)?)
}

/// One call of a connector: each event in turn, their requests in order.
///
/// # Errors
/// If the config does not fit its type, and whatever the author reports.
pub fn render<T: Connector>(events: Vec<Event>, text: &str) -> Result<Outcome, Fault> {
    let config = config(text)?;
    let mut requests = Vec::new();
    let mut dropped = None;
    for event in events {
        match T::render(event, &config)? {
            Outcome::Send(more) => requests.extend(more),
            Outcome::Drop(reason) => dropped = Some(reason),
        }
    }
    match dropped {
        Some(reason) if requests.is_empty() => Ok(Outcome::Drop(reason)),
        _ => Ok(Outcome::Send(requests)),
    }
}

/// One answer.
#[must_use]
pub fn interpret<T: Connector>(response: &Response, text: &str) -> Verdict {
    match config(text) {
        Ok(config) => T::interpret(response, &config),
        // `render` took the same config, so this is a host that changed it in between.
        Err(fault) => Verdict::Unknown(fault.message),
    }
}

/// The same, in the contract's form.
#[must_use]
pub fn interpret_all<T: Connector>(response: &Response, text: &str) -> Verdicts {
    Verdicts::All(interpret::<T>(response, text))
}

/// Sends a panic's message to the delivery's log before the trap ends the call; without it a person
/// would read `unreachable` and nothing else.
#[cfg(target_arch = "wasm32")]
pub fn log_panics() {
    std::panic::set_hook(Box::new(|info| crate::log::error(info.to_string())));
}

/// The exports of plugins whose instances are emptied after each call.
#[cfg(target_arch = "wasm32")]
pub mod emptied {
    /// What the host calls when it has read what a call gave back: all that was allocated is done with.
    ///
    /// # Safety
    /// The plugin keeps nothing that it allocated.
    unsafe fn empty() {
        crate::log::begin();
        // SAFETY: the host has read what it was given, and the caller promises the rest.
        unsafe { crate::alloc::empty() }
    }

    /// Those of a transform.
    pub mod transform {
        pub use crate::bindings::transform::*;

        /// In the place of the generated one.
        ///
        /// # Safety
        /// The plugin keeps nothing that it allocated.
        pub unsafe fn __post_return_transform<T: Guest>(_returned: *mut u8) {
            // SAFETY: as the caller promises.
            unsafe { super::empty() }
        }
    }

    /// Those of a connector.
    pub mod connector {
        pub use crate::bindings::connector::*;

        /// In the place of the generated one.
        ///
        /// # Safety
        /// The plugin keeps nothing that it allocated.
        pub unsafe fn __post_return_render<T: Guest>(_returned: *mut u8) {
            // SAFETY: as the caller promises.
            unsafe { super::empty() }
        }

        /// In the place of the generated one.
        ///
        /// # Safety
        /// The plugin keeps nothing that it allocated.
        pub unsafe fn __post_return_interpret<T: Guest>(_returned: *mut u8) {
            // SAFETY: as the caller promises.
            unsafe { super::empty() }
        }
    }
}

/// Makes a module of a [`Transform`]: exports its functions and installs the allocator. One line, once
/// in a crate.
///
/// `transform!(Plugin, emptied)` is for a plugin whose instance is kept for more events, as the
/// gateway keeps those of its presets: after each call all that was allocated is taken back at once.
/// Such a plugin may hold nothing on the heap in a `static`.
#[macro_export]
macro_rules! transform {
    ($plugin:ty) => {
        $crate::transform!($plugin, with $crate::bindings::transform);
    };
    ($plugin:ty, emptied) => {
        $crate::transform!($plugin, with $crate::guest::emptied::transform);
    };
    ($plugin:ty, with $($types:tt)*) => {
        const _: () = {
            #[cfg(target_arch = "wasm32")]
            #[global_allocator]
            static ALLOCATOR: $crate::alloc::Bump = $crate::alloc::Bump::new();

            struct Guest;

            impl $crate::bindings::transform::Guest for Guest {
                fn describe() -> $crate::WireManifest {
                    $crate::guest::describe::<<$plugin as $crate::Transform>::Config>(
                        &<$plugin as $crate::Transform>::MANIFEST,
                    )
                }

                fn transform(
                    event: $crate::Event,
                    config: ::std::string::String,
                ) -> ::std::result::Result<$crate::Decision, $crate::Fault> {
                    #[cfg(target_arch = "wasm32")]
                    $crate::guest::log_panics();
                    $crate::guest::transform::<$plugin>(event, &config)
                }
            }

            #[cfg(target_arch = "wasm32")]
    $crate::bindings::transform::export_transform!(Guest with_types_in $($types)*);
        };
    };
}

/// Makes a module of a [`Connector`]: exports its functions and installs the allocator. One line, once
/// in a crate. `connector!(Plugin, emptied)` as for [`transform!`](crate::transform!).
#[macro_export]
macro_rules! connector {
    ($plugin:ty) => {
        $crate::connector!($plugin, with $crate::bindings::connector);
    };
    ($plugin:ty, emptied) => {
        $crate::connector!($plugin, with $crate::guest::emptied::connector);
    };
    ($plugin:ty, with $($types:tt)*) => {
        const _: () = {
            #[cfg(target_arch = "wasm32")]
            #[global_allocator]
            static ALLOCATOR: $crate::alloc::Bump = $crate::alloc::Bump::new();

            struct Guest;

            impl $crate::bindings::connector::Guest for Guest {
                fn describe() -> $crate::WireManifest {
                    $crate::guest::describe::<<$plugin as $crate::Connector>::Config>(
                        &<$plugin as $crate::Connector>::MANIFEST,
                    )
                }

                fn render(
                    events: ::std::vec::Vec<$crate::Event>,
                    config: ::std::string::String,
                ) -> ::std::result::Result<$crate::Outcome, $crate::Fault> {
                    #[cfg(target_arch = "wasm32")]
                    $crate::guest::log_panics();
                    $crate::guest::render::<$plugin>(events, &config)
                }

                fn interpret(
                    response: $crate::Response,
                    config: ::std::string::String,
                    _count: u32,
                ) -> $crate::bindings::connector::Verdicts {
                    #[cfg(target_arch = "wasm32")]
                    $crate::guest::log_panics();
                    $crate::guest::interpret_all::<$plugin>(&response, &config)
                }
            }

            #[cfg(target_arch = "wasm32")]
    $crate::bindings::connector::export_connector!(Guest with_types_in $($types)*);
        };
    };
}
