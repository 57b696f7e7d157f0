//! Walks through the messages of a queue without leasing them.

use std::collections::VecDeque;

use roadstead_proto::v1::{MessageFilter, PeekMessagesRequest, PeekedMessage};

use crate::client::Client;
use crate::error::CallError;

/// Messages of a page at most.
const PAGE: u32 = 100;

/// A walk through the messages of a queue, of each partition first those in line, then the delayed
/// ones. Every message is met that is there all the time; one that falls due meanwhile may be met
/// twice, and one that comes meanwhile may be left out.
#[derive(Debug)]
pub struct Browse {
    client: Client,
    request: PeekMessagesRequest,
    page: VecDeque<PeekedMessage>,
    over: bool,
}

impl Browse {
    /// The next message; None when there is no more. After an error it goes on where it was.
    pub async fn next(&mut self) -> Result<Option<PeekedMessage>, CallError> {
        while self.page.is_empty() && !self.over {
            let answer = self.client.peek_page(self.request.clone()).await?;
            self.page.extend(answer.messages);
            self.over = answer.next_page_token.is_empty();
            self.request.page_token = answer.next_page_token;
        }
        Ok(self.page.pop_front())
    }

    /// Shows the messages as a consumer group sees them: without what it has settled. Default:
    /// `default`.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.request.group = group.into();
        self
    }

    /// The next messages, so many at most.
    pub async fn first(mut self, max_messages: usize) -> Result<Vec<PeekedMessage>, CallError> {
        let mut found = Vec::new();
        while found.len() < max_messages {
            let left = max_messages - found.len();
            self.request.max_messages = u32::try_from(left).map_or(PAGE, |left| left.min(PAGE));
            match self.next().await? {
                Some(message) => found.push(message),
                None => break,
            }
        }
        Ok(found)
    }
}

impl Client {
    /// Walks through those messages of a queue that the filter means; the default means all.
    pub fn browse(&self, name: &str, filter: MessageFilter) -> Browse {
        let request = PeekMessagesRequest {
            queue: Some(self.queue_ref(name)),
            max_messages: PAGE,
            filter: Some(filter),
            page_token: String::new(),
            group: String::new(),
        };
        Browse {
            client: self.clone(),
            request,
            page: VecDeque::new(),
            over: false,
        }
    }

    /// Shows the first `max_messages` that the filter means, without leasing them.
    pub async fn peek(
        &self,
        name: &str,
        filter: MessageFilter,
        max_messages: usize,
    ) -> Result<Vec<PeekedMessage>, CallError> {
        self.browse(name, filter).first(max_messages).await
    }
}
