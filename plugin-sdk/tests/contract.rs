//! The checked-in bindings are those of the contract.

use sha2::{Digest, Sha256};

#[test]
fn bindings_are_of_this_contract() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../wit/plugin.wit");
    let Ok(contract) = std::fs::read(path) else { return };
    let digest: String = Sha256::digest(contract).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hookmill_plugin::bindings::CONTRACT_SHA256,
        digest,
        "wit/plugin.wit has changed: run plugin-sdk/bindings"
    );
}
