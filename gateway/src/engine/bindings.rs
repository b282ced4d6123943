//! The bindings to `wit/plugin.wit`, one module per world. They compile slowly, so they live alone in a file
//! that rarely changes; the two worlds share the types of the `types` interface.

/// A transform's world.
pub(super) mod transform {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "transform",
        imports: { default: trappable },
        exports: { default: async },
    });
}

/// A connector's world.
pub(super) mod connector {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "connector",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "hookmill:plugin/types@0.1.0": super::transform::hookmill::plugin::types,
            "hookmill:plugin/host@0.1.0": super::transform::hookmill::plugin::host,
        },
    });
}

pub(super) use transform::hookmill::plugin::{host, types};
