//! The engine against guests, well-behaved and hostile.

mod calls;
mod fairness;
mod fuzz;
mod guests;
mod hostile;
mod install;
mod limits;
mod reuse;

use std::sync::Arc;
use std::time::Duration;

use self::guests::{ECHO, Guest};
use super::{Engine, EngineConfig, Plugin, Ran, Reuse};
use crate::domain::{Decision, FaultKind, PluginEvent, TenantId};

/// The usual limits, in a small pool; but for time, of which there is more than a busy machine ever takes from a call that
/// is to meet another limit, or none.
pub(super) fn config() -> EngineConfig {
    EngineConfig {
        time: Duration::from_secs(30),
        memory: 64 << 20,
        output: 1 << 20,
        log: 16 << 10,
        hostcall_fuel: 4 << 20,
        component: 24 << 20,
        instances: 4,
        concurrency: 2,
        reuse: Reuse::NONE,
        cache_dir: None,
        compiler: None,
    }
}

fn engine() -> Engine {
    Engine::new(config()).unwrap()
}

/// For a guest that is to end like this: with the usual time for one that is to use it up.
fn engine_for(fault: FaultKind) -> Engine {
    if fault != FaultKind::Time {
        return engine();
    }
    Engine::new(EngineConfig { time: Duration::from_millis(50), ..config() }).unwrap()
}

fn tenant(number: u8) -> TenantId {
    TenantId::from_bytes([number; 16])
}

fn event() -> PluginEvent {
    PluginEvent {
        id: "evt_1".into(),
        event_type: "order.paid".into(),
        source: "shop".into(),
        timestamp: "2026-01-01T00:00:00.000Z".into(),
        data: r#"{"total": 12345678901234567890}"#.into(),
        attributes: vec![("traceparent".into(), "00-1".into())],
    }
}

async fn install(engine: &Engine, guest: &Guest) -> Arc<Plugin> {
    engine.install(&guest.module()).await.unwrap()
}

async fn run(engine: &Engine, plugin: &Arc<Plugin>) -> Ran<Decision> {
    engine.transform(plugin, tenant(1), &event(), "{}").await
}

/// Runs a hostile transform, holds its fault against the kind wanted, and sees that the engine is none the worse.
async fn check(engine: &Engine, hostile: &Guest, wanted: FaultKind) -> Ran<Decision> {
    let healthy = install(engine, &Guest::transform(ECHO)).await;
    let hostile = install(engine, hostile).await;
    let ran = run(engine, &hostile).await;
    assert_eq!(ran.result.as_ref().map_err(|fault| fault.kind), Err(wanted), "{:?}", ran.result);
    assert_eq!(run(engine, &healthy).await.result, Ok(Decision::Keep(vec![event()])));
    ran
}
