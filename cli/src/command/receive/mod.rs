//! `roadstead receive QUEUE`

mod as_whom;
mod each;
mod exec;
mod forward;
mod post;
mod several;
mod source;

use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use roadstead_client::{Client, Delivery};

use self::as_whom::AsWhom;
use self::each::Each;
use self::forward::{ForwardOptions, Forwarder};
use self::post::{PostOptions, Poster};
use self::source::Source;
use crate::connection::Connection;
use crate::output::{Output, note};
use crate::stop::Stop;
use crate::{names, units};

/// Where from, and what to do with each message.
#[derive(Debug, Args)]
pub struct Receive {
    /// Queue: name, or namespace/name
    #[arg(value_parser = names::queue)]
    queue: String,
    #[command(flatten)]
    as_whom: AsWhom,
    /// Messages to receive, without --follow
    #[arg(long, short = 'c', default_value_t = 1, conflicts_with = "follow")]
    #[arg(allow_negative_numbers = true, value_parser = units::at_least_one::<u64>)]
    count: u64,
    /// Go on until Ctrl-C; with --ack, --exec, --post or --forward
    #[arg(long, short = 'F', requires = "done")]
    follow: bool,
    /// How long to wait for a message, without --follow; 0s takes what is ready
    #[arg(long, value_parser = units::duration, default_value = "5s", conflicts_with = "follow")]
    #[arg(allow_hyphen_values = true)]
    wait: Duration,
    /// Ack each message when it is printed; without this it goes back uncounted, which an
    /// at-most-once queue cannot do
    #[arg(long, group = "done")]
    ack: bool,
    /// Run this command by sh for each message, the body on its stdin: exit 0 acks, else it goes
    /// back. The message is described by `ROADSTEAD_MESSAGE_ID`, `_KEY`, `_DELIVERY_COUNT` and
    /// `_QUEUE`
    #[arg(long, value_name = "COMMAND", groups = ["done", "work"])]
    exec: Option<String>,
    /// With --exec: what a command prints becomes a message of this queue, sent in the same step in
    /// which its own is acked
    #[arg(long, value_name = "QUEUE", value_parser = names::queue, requires = "exec")]
    output_queue: Option<String>,
    /// How long the message of a command that failed waits before it is delivered again; without
    /// it, as the queue's backoff says
    #[arg(long, value_parser = units::duration, requires = "exec", allow_hyphen_values = true)]
    retry_after: Option<Duration>,
    /// How long what is under way may take after SIGTERM or Ctrl-C; a command is sent SIGTERM then
    /// and killed 2s later, a request is given up, and the message goes back. A second signal ends
    /// it at once
    #[arg(long, value_parser = units::duration, default_value = "25s", requires = "work")]
    #[arg(allow_hyphen_values = true)]
    grace: Duration,
    /// With --post or --forward: messages under way at once [default: 16 with --post, 256 with
    /// --forward]
    #[arg(long, value_name = "N", value_parser = units::at_least_one::<u16>)]
    #[arg(
        allow_negative_numbers = true,
        requires = "work",
        conflicts_with = "exec"
    )]
    concurrency: Option<u16>,
    #[command(flatten)]
    post: PostOptions,
    #[command(flatten)]
    forward: ForwardOptions,
}

/// Whom messages are handed on to, several at once.
enum Next {
    Poster(Box<Poster>),
    Forwarder(Box<Forwarder>),
}

impl Receive {
    pub async fn run(self, connection: &Connection, output: &Output) -> anyhow::Result<()> {
        let looks = !self.ack && !self.works();
        // What is looked at is held until the end. Were the number split over streams to several
        // leaders, a share that finds no messages would keep the rest from coming.
        let client = if looks {
            connection.connect_indirect().await?
        } else {
            connection.connect().await?
        };
        let at_most_once =
            self.as_whom.at_most_once || source::is_at_most_once(&client, &self.queue).await?;
        if at_most_once && (looks || self.forward.forward.is_some()) {
            return Err(self.cannot_go_back());
        }
        if at_most_once && self.output_queue.is_some() {
            return Err(anyhow!(
                "messages of {} are received at most once, which acks them before a command runs: \
                 --output-queue cannot send in the same step",
                self.queue
            ));
        }
        let stop = Stop::listen()?;
        let next = self.next(connection, &client, &stop).await?;
        if next.is_none() && stop.told() {
            return Ok(());
        }
        let ready = source::ready(&self, &client).await?;
        let consumer = self
            .as_whom
            .consumer(&client, &self.queue)
            .end_when_drained(true)
            .max_in_flight(self.ahead(at_most_once)?);
        let consumer = consumer.start().await?;
        let source = Source {
            options: &self,
            client: &client,
            consumer: &consumer,
            stop,
            at_most_once,
            ready,
        };
        let mut held = Vec::new();
        let result = source.hand_on(next, output, &mut held).await;
        if consumer.is_draining() {
            note("drained: others get the messages from now on");
        }
        consumer.stop();
        for delivery in held {
            drop(delivery.release());
        }
        // Within the 30 s that Kubernetes gives by default, after the grace.
        let patience = Duration::from_secs(if source.stop.told() { 2 } else { 5 });
        drop(source);
        if !consumer.close(patience).await {
            note("not every settlement was answered; some messages may be delivered again");
        }
        result
    }

    /// Whether messages are handed to somebody.
    fn works(&self) -> bool {
        self.exec.is_some() || self.hands_on()
    }

    /// Whether that is done with several at once.
    fn hands_on(&self) -> bool {
        self.post.post.is_some() || self.forward.forward.is_some()
    }

    fn cannot_go_back(&self) -> anyhow::Error {
        let queue = &self.queue;
        anyhow!(
            "a message of {queue} that is received at most once cannot go back; say --ack to take \
             it, or look at it by: roadstead queue peek {queue}"
        )
    }

    async fn next(
        &self,
        connection: &Connection,
        client: &Client,
        stop: &Stop,
    ) -> anyhow::Result<Option<Next>> {
        if let Some(poster) = self.post.poster(client, &self.queue)? {
            return Ok(Some(Next::Poster(Box::new(poster))));
        }
        let forwarder = self.forward.forwarder(connection, (client, stop), self);
        Ok(forwarder.await?.map(|one| Next::Forwarder(Box::new(one))))
    }

    /// Messages that are worked on at once.
    fn at_once(&self, at_most_once: bool) -> usize {
        let default = match self.post.post {
            Some(_) => post::CONCURRENCY,
            None => forward::CONCURRENCY,
        };
        // What is on its way when it is time to stop would be lost.
        if at_most_once {
            return 1;
        }
        self.concurrency.map_or(default, usize::from)
    }

    /// Messages to hold at once. Fetching ahead would count deliveries of messages that nobody
    /// looks at, and lose those that cannot go back.
    fn ahead(&self, at_most_once: bool) -> anyhow::Result<u32> {
        if self.exec.is_some() || at_most_once {
            return Ok(1);
        }
        let most = if self.hands_on() {
            2 * self.at_once(at_most_once) as u64
        } else if self.ack || self.follow {
            32
        } else {
            10_000
        };
        let wanted = if self.follow { most } else { self.count };
        Ok(u32::try_from(wanted.clamp(1, most))?)
    }
}

impl Source<'_> {
    async fn hand_on(
        &self,
        next: Option<Next>,
        output: &Output,
        held: &mut Vec<Delivery>,
    ) -> anyhow::Result<()> {
        let at_once = self.options.at_once(self.at_most_once);
        match next {
            Some(Next::Poster(poster)) => several::run(self, at_once, &*poster, output).await,
            Some(Next::Forwarder(forwarder)) => {
                several::run(self, at_once, &*forwarder, output).await
            }
            None => {
                let source = self;
                Each { source, output }.receive(held).await
            }
        }
    }
}
