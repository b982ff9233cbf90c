//! Batches of tailed lines against a real broker: they are durable once, and found again from a mark.

use devstack::Server;
use kafka_client::admin::{self, TopicSpec};
use prost::Message;
use telemetry_wire::{dead_letter_topic, key::KeyRule, partition::Partitioner};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;
use crate::publisher::tail_mark::{TailMark, TailedSinceError, spooled_since};
use scene::{SPOOL, Scene, Stored, UNHURRIED, image, line, logs, once, origin, set, until, within};

mod scene;

#[tokio::test(flavor = "multi_thread")]
async fn what_became_durable_after_a_mark_is_found_from_it_and_nothing_else() {
    let scene = Scene::shared().await;
    let (folder, other_folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let edge = scene.ready_edge(folder.path(), UNHURRIED).await;
    edge.publish("a", 1).await.unwrap().position_moved();
    let early = TailMark::from_bytes(&edge.publisher.tail_mark().to_bytes()).unwrap();
    let unknown = edge.publish("b", 1).await.unwrap();
    // Each partition gets more, so that only a floor that stays behind leads to what came before.
    edge.publisher.publish_tailed(edge.batch("a", 2, &[line("a", 2)])).await.unwrap().position_moved();
    let late = edge.publisher.tail_mark();
    let other = scene.ready_edge(other_folder.path(), UNHURRIED).await;
    other.publish("c", 1).await.unwrap().position_moved();
    edge.assert_conserved();
    edge.stop().await;
    other.stop().await;
    let next = scene.ready_edge(folder.path(), UNHURRIED).await;
    assert_eq!(next.tailed_since(&early).await, set([("a", 2), ("b", 1)]));
    assert!(next.tailed_since(&late).await.is_superset(&set([("b", 1)])), "its position has not moved");
    assert_eq!(next.tailed_since(&next.publisher.tail_mark()).await, set([]));
    drop(unknown);
    next.stop().await;
    // The disk was replaced, the positions were not.
    let new_folder = TempDir::new().unwrap();
    let next = scene.ready_edge(new_folder.path(), UNHURRIED).await;
    assert_eq!(next.tailed_since(&early).await, set([("a", 2), ("b", 1)]));
    next.stop().await;
    let lines = [line("a", 1), line("a", 2), line("b", 1), line("c", 1)];
    assert_eq!(scene.copies().await, once(lines));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_lines_are_found_in_the_spool_and_later_in_the_topic() {
    let scene = Scene::own().await;
    scene.broker(Server::stop).await;
    let folder = TempDir::new().unwrap();
    let edge = scene.edge(folder.path(), SPOOL);
    edge.publish("a", 1).await.unwrap().position_moved();
    let mark = edge.publisher.tail_mark();
    edge.publish("a", 2).await.unwrap().position_moved();
    let _unknown = edge.publish("b", 1).await.unwrap();
    assert_eq!(edge.metric("edge_spool_pending_items"), 3.0);
    let crashed = image(folder.path());
    edge.stop().await;
    let next = scene.edge(crashed.path(), SPOOL);
    next.publish("z", 1).await.unwrap().position_moved();
    let spooled = spooled_since(next.backlog(), &mark).await.unwrap();
    assert_eq!(
        spooled,
        [origin("a", 2), origin("b", 1)].into(),
        "what an earlier process left, from the mark on"
    );
    let asked = within("an answer", next.publisher.tailed_since(&mark)).await;
    assert!(matches!(asked, Err(TailedSinceError::Topics(_))), "half an answer is none: {asked:?}");
    scene.broker(Server::start).await;
    // The mark was taken while the topics were not known, so it leads to all that is in them.
    assert!(next.tailed_since(&mark).await.is_superset(&set([("a", 2), ("b", 1)])));
    next.until_drained().await;
    next.stop().await;
    let next = scene.edge(crashed.path(), SPOOL);
    let all = set([("a", 1), ("a", 2), ("b", 1), ("z", 1)]);
    assert_eq!(next.tailed_since(&mark).await, all, "in the topic now");
    next.stop().await;
    assert_eq!(scene.copies().await, once([line("a", 1), line("a", 2), line("b", 1), line("z", 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_full_spool_and_no_broker_lines_wait_and_arrive_once() {
    let scene = Scene::own().await;
    scene.broker(Server::stop).await;
    let folder = TempDir::new().unwrap();
    let small = "{spool: {max_bytes: 1MiB, segment_bytes: 64KiB, queue_bytes: 64KiB}, kafka: {producer: {max_message_bytes: 32KiB}}}";
    let edge = scene.edge(folder.path(), small);
    let file = |number: u64| format!("file {number} {}", "f".repeat(20_000));
    let mut batches = JoinSet::new();
    for number in 0..60 {
        let (publisher, batch) = (edge.publisher.clone(), edge.batch("f", number, &[file(number)]));
        batches.spawn(async move { publisher.publish_tailed(batch).await.map(Landed::position_moved) });
    }
    until("a full spool", async || {
        !edge.publisher.obstacles().refusing.is_empty()
            && edge.metric("edge_publisher_in_flight_items") + edge.metric("edge_spool_pending_items") == 60.0
    })
    .await;
    let waiting = edge.metric("edge_publisher_in_flight_items");
    assert!(waiting > 0.0, "1 MiB does not hold them all");
    scene.broker(Server::start).await;
    let landed = within("the last batch", batches.join_all()).await;
    assert_eq!(landed, vec![Ok(()); 60]);
    edge.until_drained().await;
    edge.stop().await;
    assert_eq!(scene.copies().await, once((0..60).map(file)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_the_topic_arrives_in_parts_that_all_say_whose_they_are() {
    let shared = Scene::shared().await;
    let scene = Scene::at(None, shared.brokers, &[("max.message.bytes", "50000")]).await;
    let (connection, letters) = (scene.connection(), dead_letter_topic(&scene.topic));
    admin::delete_topics(&connection, &[&letters]).await.unwrap();
    let folder = TempDir::new().unwrap();
    let plain = "{spool: {after: 1h, settling: 500ms}, kafka: {producer: {compression: none}}}";
    let edge = scene.edge(folder.path(), plain);
    edge.until_topic_known().await;
    let mark = edge.publisher.tail_mark();
    let lines: Vec<String> = (0..200).map(|number| format!("{number} {}", "x".repeat(1000))).collect();
    let big = vec!["b".repeat(60_000)];
    let publish = async |position, lines| {
        let batch = edge.batch("a", position, lines);
        within("it to land", edge.publisher.publish_tailed(batch)).await.unwrap().position_moved();
    };
    publish(1, &lines).await;
    until("the parts", async || scene.copies().await.len() == 200).await;
    edge.until_drained().await;
    assert_eq!(edge.metric("edge_publisher_returned_records_total"), 0.0, "the drain did not send the whole");
    publish(2, &big).await;
    edge.stop().await;
    let next = scene.edge(folder.path(), plain);
    assert_eq!(next.tailed_since(&mark).await, set([("a", 1), ("a", 2)]), "the second is in the spool only");
    until("the dead-letter topic to be made anew", async || {
        admin::create_topics(&connection, &[TopicSpec::new(&letters, 1)]).await.is_ok()
            && scene.knows(&letters).await
    })
    .await;
    next.until_drained().await;
    assert!(next.backlog().sending().refused.is_empty(), "it is known no longer than it lasts");
    next.stop().await;
    assert_eq!(scene.copies().await, once(lines));
    let parts = scene.read(&scene.topic).await;
    assert!(parts.len() > 3 && parts.iter().all(|part| part.headers.part.is_some()), "{parts:?}");
    let letters = scene.read(&letters).await;
    assert_eq!(letters.iter().map(|letter| &letter.bodies).collect::<Vec<_>>(), [&big]);
    for (record, position) in parts.iter().map(|part| (part, "1")).chain([(&letters[0], "2")]) {
        let Stored { headers, .. } = record;
        let of_file = (headers.file.as_deref(), headers.file_position.as_deref());
        assert_eq!(of_file, (Some("a"), Some(position)));
    }
    // Frames that are done with may still lie in the old folder.
    let new_folder = TempDir::new().unwrap();
    let next = scene.edge(new_folder.path(), plain);
    assert_eq!(next.tailed_since(&mark).await, set([("a", 1), ("a", 2)]), "both are in the topics");
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_in_flight_at_a_crash_is_found_if_it_has_arrived_and_sent_no_second_time() {
    let scene = Scene::own().await;
    let folder = TempDir::new().unwrap();
    let edge = scene.ready_edge(folder.path(), UNHURRIED).await;
    edge.publish("a", 1).await.unwrap().position_moved();
    scene.broker(Server::freeze).await;
    let (publisher, batch) = (edge.publisher.clone(), edge.batch("a", 2, &[line("a", 2)]));
    let publishing = tokio::spawn(async move { publisher.publish_tailed(batch).await });
    until("the batch to be on its way", async || edge.in_flight() == 1).await;
    let mark = edge.publisher.tail_mark();
    let crashed = image(folder.path());
    edge.stop().await;
    // The end of the process is a reason to ask the disk early.
    let _unknown = within("an answer", publishing).await.unwrap().unwrap();
    scene.broker(Server::thaw).await;
    until("the late record", async || scene.copies().await.len() == 2).await;
    for folder in [&crashed, &folder] {
        let next = scene.edge(folder.path(), UNHURRIED);
        assert_eq!(next.tailed_since(&mark).await, set([("a", 2)]));
        next.until_drained().await;
        next.stop().await;
    }
    assert_eq!(scene.copies().await, once([line("a", 1), line("a", 2)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_only_a_silent_broker_has_waits_for_it_until_the_process_ends() {
    let scene = Scene::own().await;
    let folder = TempDir::new().unwrap();
    let edge = scene.ready_edge(folder.path(), "spool: {after: 100ms, settling: 500ms}").await;
    let start = |position| {
        let (publisher, batch) = (edge.publisher.clone(), edge.batch("a", position, &[line("a", position)]));
        tokio::spawn(async move { publisher.publish_tailed(batch).await })
    };
    let is_on_its_way = async || edge.in_flight() == 1;
    edge.publish_and_be_acked("a", 1).await;
    // It refuses whatever comes.
    edge.backlog().close();
    scene.broker(Server::freeze).await;
    let mut second = start(2);
    until("the batch to be on its way", is_on_its_way).await;
    let waited = timeout(Duration::from_secs(2), &mut second).await;
    assert!(waited.is_err(), "the spool refuses and nobody answers: {waited:?}");
    scene.broker(Server::thaw).await;
    within("the broker's answer", second).await.unwrap().unwrap().position_moved();
    scene.broker(Server::freeze).await;
    let third = start(3);
    until("the batch to be on its way", is_on_its_way).await;
    within("the end", edge.publisher.drain()).await;
    assert_eq!(within("an answer", third).await.unwrap().map(drop), Err(Abandoned));
    assert_eq!(edge.publish("a", 4).await.map(drop), Err(Abandoned), "it is over");
    let mark = edge.publisher.tail_mark();
    edge.assert_conserved();
    drop(edge);
    scene.broker(Server::thaw).await;
    let next = scene.ready_edge(folder.path(), SPOOL).await;
    scene.assert_found_if_stored(next, &mark, ("a", 3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_arrived_is_not_sent_again_while_the_spool_does_not_take_it() {
    let scene = Scene::own().await;
    let folder = TempDir::new().unwrap();
    let distrustful = "spool: {after: 100ms, settling: 500ms, session_trust: 2s}";
    let edge = scene.ready_edge(folder.path(), distrustful).await;
    edge.publish_and_be_acked("a", 1).await;
    edge.backlog().close();
    scene.broker(Server::freeze).await;
    let (publisher, batch) = (edge.publisher.clone(), edge.batch("a", 2, &[line("a", 2)]));
    let mut publishing = tokio::spawn(async move { publisher.publish_tailed(batch).await });
    until("the batch to be on its way", async || edge.in_flight() == 1).await;
    until("the session to end", async || edge.in_flight() == 0).await;
    scene.broker(Server::thaw).await;
    // Long enough for some attempts.
    let waited = timeout(Duration::from_secs(3), &mut publishing).await;
    assert!(waited.is_err(), "only the spool may have it, and that is closed: {waited:?}");
    let mark = edge.publisher.tail_mark();
    within("the end", edge.publisher.drain()).await;
    assert_eq!(within("an answer", publishing).await.unwrap().map(drop), Err(Abandoned));
    edge.assert_conserved();
    drop(edge);
    let next = scene.ready_edge(folder.path(), SPOOL).await;
    scene.assert_found_if_stored(next, &mark, ("a", 2)).await;
}

#[test]
fn the_key_is_that_of_the_resource_or_none() {
    let request: Bytes = logs(&["one".to_owned(), "two".to_owned()]).encode_to_vec().into();
    let attributes = KeyRule::Attributes(vec!["service.name".to_owned()]);
    for (rule, key_bytes) in [
        (KeyRule::None, None),
        (KeyRule::TraceId, None),
        (KeyRule::Resource, Some(16)),
        (attributes, Some(16)),
    ] {
        let route = Route::new(Signal::Logs, "logs", &rule, Partitioner::default(), None);
        assert_eq!(key_of(&route, &request).map(|key| key.len()), key_bytes, "{rule:?}");
        assert_eq!(key_of(&route, &Bytes::from_static(b"\xff")), None, "{rule:?}");
    }
}
