//! Guests that mean harm, one for each limit. Each ends in the fault of its name, and the next event is fine.

use super::guests::{ECHO, Guest};
use super::*;
use crate::engine::fixtures;

#[tokio::test]
async fn endless_loop() {
    let guest = Guest::transform("(loop $again (br $again)) (i32.const 0)");
    let ran = check(&engine_for(FaultKind::Time), &guest, FaultKind::Time).await;
    assert!(ran.result.unwrap_err().message.contains("50 ms"));
}

#[tokio::test]
async fn the_built_in_plugins_are_what_their_texts_say() {
    let fill = "(loop $more (drop (memory.grow (i32.const 16)))
        (memory.fill (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1048576)) (i32.const 1) (i32.const 1048576))
        (br $more)) (i32.const 0)";
    for (name, text, built, wanted) in [
        ("looping", "(loop $again (br $again)) (i32.const 0)", fixtures::looping(), FaultKind::Time),
        ("bomb", fill, fixtures::bomb(), FaultKind::Memory),
    ] {
        let guest = Guest::transform(text).named(name).module();
        if std::env::var_os("HOOKMILL_UPDATE_FIXTURES").is_some() {
            let path = format!("{}/src/engine/fixtures/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
            std::fs::write(path, &guest).unwrap();
        }
        assert!(built == guest, "{name}: run once with HOOKMILL_UPDATE_FIXTURES=1");
        let engine = engine_for(wanted);
        let plugin = engine.install(&built).await.unwrap();
        assert_eq!(run(&engine, &plugin).await.result.unwrap_err().kind, wanted, "{name}");
    }
}

#[tokio::test]
async fn a_loop_where_results_are_freed() {
    let guest = Guest::transform(ECHO).with(r#"(func (export "cabi_post_transform") (param i32) (loop $l (br $l)))"#);
    check(&engine_for(FaultKind::Time), &guest, FaultKind::Time).await;
}

#[tokio::test]
async fn a_loop_before_the_first_call() {
    // The start function runs when the instance is made, before `describe` does.
    let engine = engine_for(FaultKind::Time);
    let sound = install(&engine, &Guest::transform(ECHO)).await;
    assert!(run(&engine, &sound).await.result.is_ok());
    let hostile = Guest::transform(ECHO).with("(func $start (loop $l (br $l)))(start $start)");
    let refused = engine.install(&hostile.module()).await.unwrap_err();
    assert!(matches!(refused, crate::engine::InstallError::Describe(fault) if fault.kind == FaultKind::Time));
    assert!(run(&engine, &sound).await.result.is_ok());
}

#[tokio::test]
async fn memory_bomb() {
    let body = "(loop $more (drop (memory.grow (i32.const 16))) (br $more)) (i32.const 0)";
    let ran = check(&engine(), &Guest::transform(body), FaultKind::Memory).await;
    assert!(ran.peak_memory <= config().memory && ran.peak_memory > config().memory / 2);
}

#[tokio::test]
async fn memory_in_one_gulp() {
    let body = "(drop (memory.grow (i32.const 65000))) (i32.const 0)";
    check(&engine(), &Guest::transform(body), FaultKind::Memory).await;
}

#[tokio::test]
async fn memories_count_together() {
    let body = "(drop (memory.grow $a (i32.const 600))) (drop (memory.grow $b (i32.const 600))) (i32.const 0)";
    let guest = Guest::transform(body).with("(memory $a 1) (memory $b 1)");
    check(&engine(), &guest, FaultKind::Memory).await;
}

#[tokio::test]
async fn table_bomb() {
    let body = "(loop $more (drop (table.grow $t (ref.null func) (i32.const 1000))) (br $more)) (i32.const 0)";
    check(&engine(), &Guest::transform(body).with("(table $t 1 funcref)"), FaultKind::Memory).await;
}

#[tokio::test]
async fn endless_recursion() {
    let guest = Guest::transform("(call $deeper) (i32.const 0)").with("(func $deeper (call $deeper) (call $deeper))");
    check(&engine(), &guest, FaultKind::Stack).await;
}

#[tokio::test]
async fn a_panic_is_told_in_its_own_words() {
    let body = "(call $log (i32.const 3) (i32.const 512) (i32.const 7)) (call $log (i32.const 1) (i32.const 512)
        (i32.const 3)) unreachable";
    let guest = Guest::transform(body).with(r#"(data (i32.const 512) "no name")"#);
    let ran = check(&engine(), &guest, FaultKind::Trap).await;
    assert!(ran.result.unwrap_err().message.ends_with("its last error was: no name"));
    assert_eq!(ran.log.len(), 2);
}

#[tokio::test]
async fn traps() {
    let engine = engine();
    for (body, says) in [
        ("unreachable", "gave up"),
        ("(i32.div_u (i32.const 1) (i32.const 0))", "divide by zero"),
        ("(i32.load (i32.const -8))", "out of bounds"),
    ] {
        let ran = check(&engine, &Guest::transform(body), FaultKind::Trap).await;
        let fault = ran.result.unwrap_err();
        assert!(fault.message.contains(says), "{fault}");
    }
}

#[tokio::test]
async fn log_floods() {
    let engine = engine();
    for (place, length) in [(0, 100), (0, 0), (1 << 20, 2 << 20)] {
        let body = format!(
            "(loop $more (call $log (i32.const 1) (i32.const {place}) (i32.const {length})) (br $more)) (i32.const 0)"
        );
        let ran = check(&engine, &Guest::transform(&body), FaultKind::LogTooLarge).await;
        assert!(ran.log.iter().map(|line| line.message.len() + 16).sum::<usize>() <= config().log);
    }
    // More than can be copied at all, in one line.
    let body = "(drop (memory.grow (i32.const 100))) (call $log (i32.const 1) (i32.const 1048576) (i32.const 5000000))
        (i32.const 0)";
    check(&engine, &Guest::transform(body), FaultKind::LogTooLarge).await;
}

#[tokio::test]
async fn giant_outputs() {
    let engine = engine();
    // Beyond the output's limit, beyond what is copied, and a list whose elements are a thousand times one text.
    let data = |length: u32| format!("(local.set 8 (i32.const 1572864)) (local.set 9 (i32.const {length})) {ECHO}");
    let list = "(drop (memory.grow (i32.const 700))) (i32.store (i32.const 136) (i32.const 65536))
        (i32.store (i32.const 140) (i32.const 800000)) (i32.const 128)";
    let cases = [data((1 << 20) + 1), format!("(drop (memory.grow (i32.const 100))) {}", data(5_000_000)), list.into()];
    for body in cases {
        check(&engine, &Guest::transform(&body), FaultKind::OutputTooLarge).await;
    }
}

#[tokio::test]
async fn the_host_goes_on_while_a_guest_loops() {
    // One thread for everything: the timer fires only if the guest gives way.
    let engine = Engine::new(EngineConfig { time: Duration::from_millis(200), ..config() }).unwrap();
    let plugin = install(&engine, &Guest::transform("(loop $again (br $again)) (i32.const 0)")).await;
    let mut order = Vec::new();
    {
        let mut call = std::pin::pin!(run(&engine, &plugin));
        let mut timer = std::pin::pin!(tokio::time::sleep(Duration::from_millis(5)));
        tokio::select! {
            biased;
            ran = &mut call => order.push(format!("{:?}", ran.result)),
            () = &mut timer => order.push("timer".into()),
        }
        if order == ["timer"] {
            order.push(call.await.result.unwrap_err().kind.as_str().into());
        }
    }
    assert_eq!(order, ["timer", "time"]);
}

#[tokio::test]
async fn a_call_given_up_leaves_nothing_behind() {
    let engine = Engine::new(EngineConfig { instances: 1, concurrency: 1, ..config() }).unwrap();
    let healthy = install(&engine, &Guest::transform(ECHO)).await;
    let looping = install(&engine, &Guest::transform("(loop $again (br $again)) (i32.const 0)")).await;
    for _ in 0..3 {
        let mut call = Box::pin(run(&engine, &looping));
        // Polled until it has given way once: half-way through, with everything held.
        assert!(futures_util::poll!(&mut call).is_pending());
        drop(call);
        assert!(run(&engine, &healthy).await.result.is_ok());
    }
    assert_eq!(engine.waiting(), 0);
}
