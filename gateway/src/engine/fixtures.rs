//! Guests made for tests and demonstrations, well-behaved and hostile, built in for whoever has no toolchain.
//!
//! Each is a core module with its component type, to be uploaded as it is.

/// A transform named `looping` that never comes back: what a tenant's worst plugin looks like to the others.
#[must_use]
pub fn looping() -> Vec<u8> {
    include_bytes!("fixtures/looping.wasm").to_vec()
}

/// A transform named `bomb` that takes and fills all the memory it can get.
#[must_use]
pub fn bomb() -> Vec<u8> {
    include_bytes!("fixtures/bomb.wasm").to_vec()
}
