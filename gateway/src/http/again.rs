//! A task that wakes itself, polled again on the spot.
//!
//! hyper passes a request's body from a connection to whoever reads it, and both are one task: for every event it wakes
//! itself while it runs. A runtime then puts it at the end of its queue, and wakes another worker to help with the queue:
//! a system call or two, a change of thread, and perhaps a connection that moves to another core. **Who acts.** [`again`]
//! stands between a task and the runtime. **What is promised.** No waking is lost: one that comes while the task is
//! polled polls it once more, any other goes on to the runtime. **What is deliberately not.** A task that wakes itself
//! [`TIMES`] over takes its turn behind the others, as it would have at first.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// The most polls in one turn. An event wakes its connection about once, and so takes two.
const TIMES: usize = 8;

/// Nobody polls: the runtime must be told.
const RESTS: u8 = 0;
/// Somebody polls, and looks for `RUNG` before resting.
const POLLED: u8 = 1;
const RUNG: u8 = 2;

/// What stands for the task with whatever wakes it.
#[derive(Default)]
struct Bell {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.compare_exchange(POLLED, RUNG, Ordering::AcqRel, Ordering::Acquire) == Err(RESTS) {
            self.task.wake();
        }
    }
}

/// Runs a task to its end.
pub(super) async fn again<T>(task: impl Future<Output = T>) -> T {
    let mut task = pin!(task);
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    poll_fn(move |context| {
        bell.task.register(context.waker());
        for _ in 0..TIMES {
            bell.state.store(POLLED, Ordering::Release);
            if let Poll::Ready(done) = task.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Poll::Ready(done);
            }
            if bell.state.compare_exchange(POLLED, RESTS, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return Poll::Pending;
            }
        }
        bell.state.store(RESTS, Ordering::Release);
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use parking_lot::Mutex;

    use super::*;

    /// Counts how often the runtime would be told.
    #[derive(Default)]
    struct Told(AtomicUsize);

    impl Wake for Told {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Polls once; gives whether it has ended, how often it was polled, and how often the runtime was told.
    fn poll_once(times_woken: usize) -> (bool, usize, usize) {
        let told = Arc::new(Told::default());
        let waker = Waker::from(Arc::clone(&told));
        let mut polls = 0;
        let ended = {
            let mut task = pin!(again(poll_fn(|context| {
                polls += 1;
                if polls > times_woken {
                    return Poll::Ready(());
                }
                context.waker().wake_by_ref();
                Poll::Pending
            })));
            task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
        };
        (ended, polls, told.0.load(Ordering::SeqCst))
    }

    #[test]
    fn who_wakes_itself_goes_on_at_once_and_not_for_ever() {
        assert_eq!(poll_once(0), (true, 1, 0));
        assert_eq!(poll_once(TIMES - 1), (true, TIMES, 0));
        assert_eq!(poll_once(usize::MAX), (false, TIMES, 1), "it takes its turn behind the others");
    }

    #[test]
    fn who_is_woken_later_is_woken_by_the_runtime() {
        let told = Arc::new(Told::default());
        let waker = Waker::from(Arc::clone(&told));
        let kept = Mutex::new(Vec::new());
        let mut task = pin!(again(poll_fn(|context| {
            kept.lock().push(context.waker().clone());
            Poll::<()>::Pending
        })));
        // A runtime may pass another waker each time: the last one counts.
        for waker in [&Waker::noop().clone(), &waker] {
            assert!(task.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
        }
        kept.lock()[0].wake_by_ref();
        assert_eq!(told.0.load(Ordering::SeqCst), 1);
    }

    /// However the two meet, each of many messages from another thread arrives.
    #[test]
    fn no_waking_is_lost() {
        const MESSAGES: usize = 20_000;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let received = runtime.block_on(async {
            let (there, mut arrives) = tokio::sync::mpsc::channel(1);
            let (back, mut answers) = tokio::sync::mpsc::channel(1);
            let echo = tokio::spawn(again(async move {
                while let Some(number) = arrives.recv().await {
                    back.send(number).await.unwrap();
                }
            }));
            let mut received = 0;
            for number in 0..MESSAGES {
                there.send(number).await.unwrap();
                received += usize::from(answers.recv().await == Some(number));
            }
            drop(there);
            echo.await.unwrap();
            received
        });
        assert_eq!(received, MESSAGES);
    }
}
