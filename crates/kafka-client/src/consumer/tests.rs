//! The owner's side without a poll thread.

use super::*;

/// A consumer whose commands nobody takes.
fn stuck() -> (Consumer, mpsc::Receiver<Command>, oneshot::Sender<()>) {
    let (doorbell, _listener) = doorbell();
    let (commands, taken) = mpsc::channel(COMMAND_CHANNEL_CAPACITY);
    let (finish, finished) = oneshot::channel();
    let shared = Shared {
        status: ConnectionStatus::new("consumer", doorbell.clone()),
        account: TotalAccount::new(Marks::new(1, 1), doorbell.clone()),
        doorbell,
    };
    let leaving = Arc::new(AtomicBool::new(false));
    let group_id = "hub".to_owned();
    (Consumer { commands, leaving, shared, client: Weak::new(), finished, group_id }, taken, finish)
}

#[tokio::test]
async fn commits_are_queued_in_the_order_of_the_calls_and_one_beyond_the_queue_is_refused() {
    let (consumer, mut taken, _finish) = stuck();
    let commit = |offset| {
        let topic = Arc::from("otlp_logs");
        consumer.commit(1, vec![CommitOffset { topic, partition: 0, offset, metadata: String::new() }])
    };
    let capacity = i64::try_from(COMMAND_CHANNEL_CAPACITY).unwrap();
    let waiting: Vec<_> = (0..capacity).map(commit).collect();
    let beyond = commit(capacity);
    let mut order = Vec::new();
    while let Ok(Command::Commit { offsets, reply, .. }) = taken.try_recv() {
        order.push(offsets[0].offset);
        reply.send(Ok(())).unwrap();
    }
    assert_eq!(order, (0..capacity).collect::<Vec<_>>());
    // There is room by now, and a later commit may have taken it.
    let refused = timeout(Duration::from_secs(10), beyond).await.expect("an answer").unwrap_err();
    assert!(matches!(refused, CommitError::QueueFull) && refused.is_retryable(), "{refused:?}");
    for answered in waiting {
        answered.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_gives_up_on_a_thread_that_does_not_end() {
    let (consumer, _taken, _finish) = stuck();
    let has_ended = timeout(Consumer::SHUTDOWN_TIMEOUT * 2, consumer.shutdown()).await;
    assert!(!has_ended.expect("within its bound"));
}
