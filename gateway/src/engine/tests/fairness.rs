//! Many at once.

use std::sync::Mutex;

use super::guests::{ECHO, Guest};
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_calls_than_places_wait() {
    // The pool holds one instance, however many may run.
    let engine = Engine::new(EngineConfig { instances: 1, concurrency: 2, ..config() }).unwrap();
    let plugin = install(&engine, &Guest::transform(ECHO)).await;
    let calls: Vec<_> = (0..40)
        .map(|number| {
            let (engine, plugin) = (engine.clone(), Arc::clone(&plugin));
            tokio::spawn(async move { engine.transform(&plugin, tenant(number % 5), &event(), "{}").await })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap().result.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_with_looping_calls_is_not_felt_by_another() {
    let config = EngineConfig { time: Duration::from_millis(10), concurrency: 1, ..config() };
    let engine = Engine::new(config).unwrap();
    let healthy = install(&engine, &Guest::transform(ECHO)).await;
    let looping = install(&engine, &Guest::transform("(loop $again (br $again)) (i32.const 0)")).await;
    let ended = Arc::new(Mutex::new(Vec::new()));
    let call = |plugin: &Arc<Plugin>, of: u8, wanted: Option<FaultKind>| {
        let (engine, plugin, ended) = (engine.clone(), Arc::clone(plugin), Arc::clone(&ended));
        async move {
            let ran = engine.transform(&plugin, tenant(of), &event(), "{}").await;
            assert_eq!(ran.result.err().map(|fault| fault.kind), wanted);
            ended.lock().unwrap().push(of);
        }
    };
    let hostile: Vec<_> = (0..64).map(|_| tokio::spawn(call(&looping, 1, Some(FaultKind::Time)))).collect();
    while engine.waiting() < 60 {
        tokio::task::yield_now().await;
    }
    // The other tenant sends twenty, one after the other, as a slow source would.
    for _ in 0..20 {
        call(&healthy, 2, None).await;
    }
    for call in hostile {
        call.await.unwrap();
    }
    let order = ended.lock().unwrap().clone();
    assert_eq!(order.len(), 84);
    let last = order.iter().rposition(|of| *of == 2).unwrap();
    let before = order[..last].iter().filter(|of| **of == 1).count();
    assert!(before < 40, "{before} of 64 looping calls went before the other tenant's last of 20: {order:?}");
}
