use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

enum Up {
    Credit(u32),
    Settle(u32),
}

enum Down {
    Deliver(u32),
    Settled(u32),
    Returned(u32),
    Available,
}

/// A stream at its server, and what is on its way. It may be closing.
#[derive(Default)]
struct Stream {
    place: usize,
    up: VecDeque<Up>,
    down: VecDeque<Down>,
    ready: u32,
    credit: u32,
    /// Delivered and not settled, as the server sees it.
    leased: u32,
    /// Delivered and not settled, as the client sees it.
    held: u32,
    said: bool,
    closing: bool,
}

impl Stream {
    /// The server reads one frame.
    fn hear(&mut self) -> bool {
        match self.up.pop_front() {
            Some(Up::Credit(0)) => {
                let unused = std::mem::take(&mut self.credit);
                self.down.push_back(Down::Returned(unused));
            }
            Some(Up::Credit(more)) => {
                self.credit += more;
                self.said = false;
            }
            Some(Up::Settle(count)) => {
                self.leased -= count;
                self.down.push_back(Down::Settled(count));
            }
            None => return false,
        }
        true
    }

    /// The server delivers what it can.
    fn serve(&mut self, most: u32) -> bool {
        let count = self.ready.min(self.credit).min(most);
        if count > 0 {
            self.ready -= count;
            self.credit -= count;
            self.leased += count;
            self.down.push_back(Down::Deliver(count));
        } else if self.credit == 0 && self.ready > 0 && !self.said {
            self.said = true;
            self.down.push_back(Down::Available);
        } else {
            return false;
        }
        true
    }
}

struct Model {
    credit: Credit,
    streams: Vec<Stream>,
    now: Instant,
    received: u32,
    taken_back: usize,
}

impl Model {
    fn new(streams: usize, most: u32) -> Self {
        let mut credit = Credit::new(most);
        let stream = |credit: &mut Credit| Stream {
            place: credit.open(),
            ..Stream::default()
        };
        Self {
            streams: (0..streams).map(|_| stream(&mut credit)).collect(),
            credit,
            now: Instant::now(),
            received: 0,
            taken_back: 0,
        }
    }

    /// The client reads one frame.
    fn read(&mut self, index: usize) -> bool {
        let stream = &mut self.streams[index];
        match stream.down.pop_front() {
            Some(Down::Deliver(count)) => {
                stream.held += count;
                self.received += count;
                self.credit.delivered(stream.place, count as usize);
            }
            Some(Down::Settled(count)) => {
                (0..count).for_each(|_| self.credit.settled(stream.place));
            }
            Some(Down::Returned(count)) => self.credit.returned(stream.place, count),
            Some(Down::Available) => self.credit.available(stream.place),
            None => return false,
        }
        true
    }

    fn settle(&mut self, index: usize, count: u32) -> bool {
        let stream = &mut self.streams[index];
        let count = count.min(stream.held);
        if count > 0 {
            stream.held -= count;
            stream.up.push_back(Up::Settle(count));
            self.credit.settling(stream.place, count);
        }
        count > 0
    }

    fn step(&mut self, draining: bool) -> bool {
        let each = self.streams.iter();
        let each: BTreeMap<_, _> = each.map(|stream| (stream.place, stream.held)).collect();
        let orders = if draining {
            self.credit.take_back()
        } else {
            let held = each.values().sum();
            self.credit.orders((&each, held), self.now)
        };
        for order in &orders {
            let (place, messages) = match *order {
                Order::Give(place, messages) => (place, messages),
                Order::TakeBack(place) => (place, 0),
            };
            self.taken_back += usize::from(messages == 0);
            let mut streams = self.streams.iter_mut();
            let stream = streams.find(|stream| stream.place == place).unwrap();
            assert!(!stream.closing || messages == 0);
            stream.up.push_back(Up::Credit(messages));
        }
        !orders.is_empty()
    }

    /// A stream moves: it gives back what it has, ends when all is answered, and is opened anew.
    fn close(&mut self, index: usize) {
        let stream = &mut self.streams[index];
        if !stream.closing {
            stream.closing = true;
            if self.credit.closing(stream.place) {
                stream.up.push_back(Up::Credit(0));
            }
        } else if stream.up.is_empty() && stream.down.is_empty() {
            self.credit.closed(stream.place);
            stream.closing = false;
            stream.said = false;
            stream.place = self.credit.open();
        }
    }

    fn act(&mut self, action: u8, index: usize) -> bool {
        match action {
            0 => self.streams[index].hear(),
            1 => self.streams[index].serve(u32::MAX),
            _ => self.read(index),
        }
    }

    /// Until nothing is on its way and nothing more is asked for.
    fn rest(&mut self) -> bool {
        (0..1_000).any(|_| {
            let all = (0..self.streams.len()).flat_map(|index| (0..3).map(move |act| (act, index)));
            let mut acted = false;
            for (action, index) in all.collect::<Vec<_>>() {
                acted |= self.act(action, index);
            }
            acted |= self.step(false);
            let waits = self.credit.look_again_at();
            self.now = waits.unwrap_or(self.now);
            !acted && waits.is_none()
        })
    }

    /// What the servers see as leased to it, and may still lease.
    fn at_servers(&self) -> u32 {
        let streams = self.streams.iter();
        streams.map(|stream| stream.leased + stream.credit).sum()
    }
}

#[test]
fn what_is_held_of_one_stream_uses_the_credit_of_all() {
    for (streams, most) in [(1, 1), (3, 3), (3, 1_000), (8, 100)] {
        let mut model = Model::new(streams, most);
        assert!(model.step(false));
        model.streams[0].ready = 10_000;
        assert!(model.rest());
        assert_eq!(model.streams[0].held, most, "{streams} streams");
        assert!(model.taken_back <= 3 * streams, "{}", model.taken_back);
        // And what another one has comes when there is room.
        model.streams[0].ready = 0;
        model.streams[streams - 1].ready += 1;
        assert!(model.rest());
        assert_eq!(model.received, most);
        assert!(model.settle(0, 1));
        assert!(model.rest());
        assert_eq!(model.received, most + 1, "{streams} streams");
    }
}

#[test]
fn a_stream_alone_is_granted_room_behind_the_settlement_that_makes_it() {
    let mut model = Model::new(1, 1);
    model.streams[0].ready = 2;
    assert!(model.step(false) && model.rest());
    assert!(model.settle(0, 1));
    assert!(model.step(false));
    let sent = model.streams[0].up.make_contiguous();
    assert!(matches!(sent, [Up::Settle(1), Up::Credit(1)]));
}

#[test]
fn two_that_are_busy_are_not_asked_to_give_back() {
    let mut model = Model::new(2, 100);
    for stream in &mut model.streams {
        stream.ready = 1_000_000;
    }
    model.step(false);
    for turn in 0..1_000 {
        model.now += Duration::from_millis(1);
        for index in 0..2 {
            for action in 0..3 {
                model.act(action, index);
            }
            model.settle(index, 10 + (turn * 7 + index as u32) % 30);
        }
        model.step(false);
    }
    assert_eq!(model.taken_back, 0);
    assert!(model.received > 5_000, "{}", model.received);
}

#[test]
fn who_holds_more_than_its_share_leaves_room_to_one_that_waits() {
    let mut model = Model::new(2, 8);
    model.streams[0].ready = 1_000;
    assert!(model.step(false) && model.rest());
    assert_eq!(model.streams[0].held, 8);
    model.streams[1].ready = 1_000;
    assert!(model.rest());
    for _ in 0..20 {
        for index in 0..2 {
            model.settle(index, 4);
        }
        assert!(model.rest());
    }
    let held = [model.streams[0].held, model.streams[1].held];
    assert!(held[0] > 1 && held[1] > 1, "{held:?}");
    assert_eq!(held[0] + held[1], 8);
    // Within its share a stream has room behind the settlement that makes it.
    let within = usize::from(held[0] > 4);
    model.settle(within, 1);
    assert!(model.step(false));
    let sent = model.streams[within].up.make_contiguous();
    assert!(matches!(sent, [Up::Settle(1), Up::Credit(1)]));
}

#[derive(Debug, Clone)]
enum Step {
    Arrive(usize, u32),
    Serve(usize, u32),
    Act(u8, usize),
    Settle(usize, u32),
    Look(bool),
    Wait,
    Close(usize),
}

const STREAMS: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    let at = 0..STREAMS;
    prop_oneof![
        2 => (at.clone(), 1u32..30).prop_map(|(index, count)| Step::Arrive(index, count)),
        2 => (at.clone(), 1u32..10).prop_map(|(index, count)| Step::Serve(index, count)),
        8 => (0u8..3, at.clone()).prop_map(|(action, index)| Step::Act(action, index)),
        4 => (at.clone(), 1u32..10).prop_map(|(index, count)| Step::Settle(index, count)),
        6 => (0u8..10).prop_map(|dice| Step::Look(dice == 0)),
        2 => Just(Step::Wait),
        1 => at.prop_map(Step::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever crosses on the way, the servers never see more than the consumer may hold; and in
    /// the end it holds as much as there is.
    #[test]
    fn never_more_than_it_may_hold(
        most in 1u32..60,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut model = Model::new(STREAMS, most);
        for step in steps {
            match step {
                Step::Arrive(index, count) => model.streams[index].ready += count,
                Step::Serve(index, count) => {
                    model.streams[index].serve(count);
                }
                Step::Act(action, index) => {
                    model.act(action, index);
                }
                Step::Settle(index, count) => {
                    model.settle(index, count);
                }
                Step::Look(draining) => {
                    model.step(draining);
                }
                Step::Wait => model.now += LEND,
                Step::Close(index) => model.close(index),
            }
            prop_assert!(model.at_servers() <= most, "{} > {most}", model.at_servers());
        }
        prop_assert!(model.rest(), "credit goes to and fro for ever");
        for index in 0..STREAMS {
            if model.streams[index].closing {
                model.close(index);
            }
        }
        prop_assert!(model.rest(), "credit goes to and fro for ever");
        let held: u32 = model.streams.iter().map(|stream| stream.held).sum();
        let ready: u32 = model.streams.iter().map(|stream| stream.ready).sum();
        prop_assert!(held == most || ready == 0, "{held} of {most}, {ready} ready");
        prop_assert!(model.at_servers() <= most);
    }
}
