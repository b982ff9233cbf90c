//! One group in one topic, looked at again and again.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use rdkafka::consumer::BaseConsumer;

use super::{Watermarks, client_of, committed_of, owners_of, watermarks_of};
use crate::{config::ConnectionConfig, error::LookupError, event::CommittedOffset};

/// A client for questions about one group in one topic that are asked again and again: it looks for brokers and the group's
/// coordinator once. It never joins the group.
#[derive(Clone)]
pub struct GroupView {
    client: Arc<BaseConsumer>,
    group_id: Arc<str>,
    topic: Arc<str>,
}

/// Where a group and its topic stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupPlaces {
    /// As of [`super::watermarks`].
    pub ends: Vec<Watermarks>,
    /// As of [`super::committed`].
    pub committed: Vec<(i32, Option<CommittedOffset>)>,
}

impl GroupView {
    /// A client that has asked nothing yet.
    ///
    /// # Errors
    /// The settings are not usable.
    pub fn new(connection: &ConnectionConfig, group_id: &str, topic: &str) -> Result<GroupView, LookupError> {
        let client = Arc::new(client_of(connection, Some(group_id))?);
        Ok(GroupView { client, group_id: group_id.into(), topic: topic.into() })
    }

    /// Committed positions and the ends of the log, in this order: what is committed is in the log.
    ///
    /// # Errors
    /// No broker answers in time, or the topic does not exist.
    pub async fn places(&self) -> Result<GroupPlaces, LookupError> {
        self.ask(|view| {
            let committed = committed_of(&view.client, &view.topic)?;
            Ok(GroupPlaces { committed, ends: watermarks_of(&view.client, &view.topic)? })
        })
        .await
    }

    /// As [`super::owners`].
    ///
    /// # Errors
    /// No broker answers in time.
    pub async fn owners(&self) -> Result<BTreeMap<i32, String>, LookupError> {
        self.ask(|view| owners_of(&view.client, &view.group_id, &view.topic)).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&GroupView) -> Result<T, LookupError> + Send + 'static,
    ) -> Result<T, LookupError> {
        let view = self.clone();
        let asking = tokio::task::spawn_blocking(move || {
            // Nobody else takes what the client has to say of its connections.
            while view.client.poll(Duration::ZERO).is_some() {}
            question(&view)
        });
        asking.await.unwrap_or(Err(LookupError::Closed))
    }
}

impl fmt::Debug for GroupView {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GroupView { group_id, topic, .. } = self;
        out.debug_struct("GroupView")
            .field("group_id", group_id)
            .field("topic", topic)
            .finish_non_exhaustive()
    }
}
