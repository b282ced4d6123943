//! Guests made for tests and demonstrations, well-behaved and hostile, built in for whoever has no toolchain.

/// A transform named `looping` that never comes back: what a tenant's worst plugin looks like to the others. A
/// core module with its component type, to be uploaded as it is.
#[must_use]
pub fn looping() -> Vec<u8> {
    include_bytes!("fixtures/looping.wasm").to_vec()
}
