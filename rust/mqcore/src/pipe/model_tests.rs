//! Whatever both ends do, in whatever order, a pipe does what a plain queue of items does: what is read, how much is said
//! to wait and to have room, and who is called.

use std::collections::VecDeque;
use std::sync::Arc;

use mqcore_proto::RunBuilder;
use proptest::prelude::*;

use super::tests::{Calls, READER, WRITER};
use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// So many messages, each by itself or as a run, as far as there is room; or one more than there is.
    Write(usize),
    WriteRun(usize),
    WriteAnyway,
    Flush,
    Read,
    ReadWith,
    ReadMore(usize),
    ReadMany,
    SendHwm(usize),
    ReceiveHwm(usize),
}

fn share() -> impl Strategy<Value = usize> {
    prop_oneof![0..4_usize, 0..100_usize]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1..8_usize).prop_map(Step::Write),
        4 => (0..80_usize).prop_map(Step::WriteRun),
        1 => Just(Step::WriteAnyway),
        4 => Just(Step::Flush),
        4 => Just(Step::Read),
        4 => Just(Step::ReadWith),
        2 => (0..80_usize).prop_map(Step::ReadMore),
        2 => Just(Step::ReadMany),
        1 => share().prop_map(Step::SendHwm),
        1 => share().prop_map(Step::ReceiveHwm),
    ]
}

/// The payload of a message: some live in the frame, some in the run.
fn payload(number: usize) -> Vec<u8> {
    format!("{number:>0$}", number * 37 % 130).into_bytes()
}

fn payloads(run: &Run) -> Vec<Vec<u8>> {
    let mut run = run.clone();
    std::iter::from_fn(|| run.pop_front())
        .map(|message| message.first().to_vec())
        .collect()
}

/// Both ends, and what they should be.
struct Model {
    writer: Option<PipeWriter>,
    reader: PipeReader,
    gauge: Gauge,
    calls: Arc<Calls>,
    /// What was written as one item and is not taken yet: whether it is a run, and of how many messages.
    items: VecDeque<(bool, usize)>,
    /// How many of them, and of their messages, are not flushed.
    unflushed: (usize, usize),
    /// Messages left of the run that was begun.
    begun: usize,
    /// The numbers of the next message to write and to read.
    written: usize,
    read: usize,
    shares: (usize, usize),
    asleep: (bool, bool),
}

impl Model {
    fn new(send: usize, receive: Option<usize>) -> Self {
        let calls = Arc::new(Calls::default());
        let (mut writer, mut reader) = pipe(Bound {
            send: Some(send),
            receive,
            conflate: false,
        });
        writer.set_waker(Waker::new(calls.clone(), WRITER));
        reader.set_waker(Waker::new(calls.clone(), READER));
        Self {
            gauge: writer.gauge(),
            writer: Some(writer),
            reader,
            calls,
            items: VecDeque::new(),
            unflushed: (0, 0),
            begun: 0,
            written: 0,
            read: 0,
            shares: (send, receive.unwrap_or(NO_SHARE)),
            asleep: (false, false),
        }
    }

    fn writer(&mut self) -> &mut PipeWriter {
        self.writer.as_mut().expect("it is there")
    }

    fn hwm(&self) -> usize {
        total(self.shares.0, self.shares.1)
    }

    fn in_pipe(&self) -> usize {
        self.written - self.read
    }

    fn visible(&self) -> usize {
        self.in_pipe() - self.unflushed.1
    }

    /// How many messages may be written; notes that the writer falls asleep.
    fn room(&mut self) -> usize {
        let (hwm, in_pipe) = (self.hwm(), self.in_pipe());
        let room = self.writer().room();
        self.called();
        self.asleep.1 |= room == 0;
        match hwm {
            0 => assert_eq!(room, usize::MAX),
            _ => assert!(
                room == 0 || in_pipe + room <= hwm,
                "{room}, {in_pipe} of {hwm}"
            ),
        }
        room
    }

    fn wrote(&mut self, is_run: bool, count: usize) {
        self.items.push_back((is_run, count));
        self.unflushed.0 += 1;
        self.unflushed.1 += count;
        self.written += count;
    }

    fn write(&mut self) {
        let message = payload(self.written)[..].into();
        self.writer().write(message);
        self.wrote(false, 1);
    }

    fn write_run(&mut self, count: usize) {
        let mut builder = RunBuilder::default();
        for number in self.written..self.written + count {
            builder.push(&payload(number));
        }
        self.writer().write_run(builder.finish());
        if count > 0 {
            self.wrote(true, count);
        }
    }

    fn flush(&mut self) {
        if self.writer().is_flushed() {
            return assert_eq!(self.unflushed, (0, 0));
        }
        self.writer().flush();
        self.unflushed = (0, 0);
        self.called();
        assert!(!self.asleep.0, "a sleeping reader was not called");
    }

    /// Only who sleeps is called, and once.
    fn called(&mut self) {
        for call in self.calls.take() {
            let asleep = match call {
                READER => &mut self.asleep.0,
                WRITER => &mut self.asleep.1,
                other => panic!("{other} is nobody"),
            };
            assert!(
                std::mem::take(asleep),
                "{call} was called but did not sleep"
            );
        }
    }

    /// What the next item is, if the reader sees it: then it is taken.
    fn next_item(&mut self) -> Option<(bool, usize)> {
        if self.items.len() == self.unflushed.0 {
            return None;
        }
        self.items.pop_front()
    }

    /// Whether there is a message to read, which counts as read.
    fn next_message(&mut self) -> Option<Vec<u8>> {
        if self.begun == 0 {
            self.begun = self.next_item()?.1;
        }
        self.begun -= 1;
        self.read += 1;
        Some(payload(self.read - 1))
    }

    fn saw(&mut self, found: Read<Vec<u8>>, expected: Option<Vec<u8>>) {
        self.called();
        match expected {
            Some(payload) => assert_eq!(found, Read::Message(payload)),
            None => self.saw_nothing(found == Read::Empty),
        }
    }

    fn saw_nothing(&mut self, empty: bool) {
        assert!(empty);
        self.asleep.0 = true;
        // What is not flushed may leave no room, and its writer owes a flush.
        let room_again = self.unflushed.1 <= self.hwm() / 2 && self.hwm() > 0;
        assert!(
            !(self.asleep.1 && room_again),
            "a sleeping writer was not called"
        );
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Write(count) => {
                for _ in 0..self.room().min(count) {
                    self.write();
                }
            }
            Step::WriteRun(count) => {
                let count = self.room().min(count);
                self.write_run(count);
            }
            Step::WriteAnyway => self.write(),
            Step::Flush => self.flush(),
            Step::Read => {
                let found = match self.reader.read() {
                    Read::Message(message) => Read::Message(message.first().to_vec()),
                    Read::Empty => Read::Empty,
                    Read::Closed => Read::Closed,
                };
                let expected = self.next_message();
                self.saw(found, expected);
            }
            Step::ReadWith => {
                let found = self.reader.read_with(|message| message.first().to_vec());
                let expected = self.next_message();
                self.saw(found, expected);
            }
            Step::ReadMore(most) => {
                let mut found = Vec::new();
                let count = self
                    .reader
                    .read_more(most, &mut |payload| found.push(payload.to_vec()));
                let expected: Vec<_> = (0..most.min(self.begun))
                    .filter_map(|_| self.next_message())
                    .collect();
                assert_eq!((count, found), (expected.len(), expected));
            }
            Step::ReadMany => {
                let found = self.reader.read_many(|queued| match queued {
                    Queued::Message(message) => (false, vec![message.first().to_vec()]),
                    Queued::Run(run) => (true, payloads(run)),
                });
                self.called();
                let rest = (self.begun > 0).then_some((true, self.begun));
                let Some((is_run, count)) = rest.or_else(|| self.next_item()) else {
                    return self.saw_nothing(found == Read::Empty);
                };
                self.begun = 0;
                let expected = (self.read..self.read + count).map(payload).collect();
                self.read += count;
                assert_eq!(found, Read::Message((is_run, expected)));
            }
            Step::SendHwm(hwm) => {
                self.shares.0 = hwm;
                self.writer().set_hwm(hwm);
            }
            Step::ReceiveHwm(hwm) => {
                self.shares.1 = hwm;
                self.reader.set_hwm(hwm);
            }
        }
        if let Step::SendHwm(_) | Step::ReceiveHwm(_) = step {
            self.called();
            assert!(!self.asleep.1, "a sleeping writer was not called");
        }
        self.check();
    }

    fn check(&mut self) {
        self.called();
        let (in_pipe, visible) = (self.in_pipe(), self.visible());
        assert_eq!(self.reader.queued(), visible);
        assert_eq!(self.reader.has_message(), visible > 0);
        let unreported = CREDIT_BATCH - 1;
        let known = self.writer().queued();
        assert!((in_pipe..=in_pipe + unreported).contains(&known));
        let gauged = self.gauge.queued();
        assert!((visible..=visible + unreported).contains(&gauged));
    }

    /// One end goes, and the other one sees it.
    fn end(mut self, by_the_writer: bool) {
        if by_the_writer {
            drop(self.writer.take());
            assert_eq!(self.calls.take(), [READER]);
            self.unflushed = (0, 0);
            while let Some(expected) = self.next_message() {
                let found = self.reader.read_with(|message| message.first().to_vec());
                assert_eq!(found, Read::Message(expected));
            }
            assert_eq!(self.reader.read(), Read::Closed);
            assert_eq!(self.gauge.queued(), 0);
        } else {
            let mut writer = self.writer.take().expect("it is there");
            drop(self.reader);
            assert_eq!(self.calls.take(), [WRITER]);
            assert!(writer.is_closed());
            assert_eq!(writer.queued(), self.unflushed.1);
            assert_eq!(self.gauge.queued(), 0);
        }
    }
}

proptest! {
    #[test]
    fn pipe_does_what_a_plain_queue_does(
        shares in (share(), prop::option::of(share())),
        steps in prop::collection::vec(step(), 0..120),
        by_the_writer: bool,
    ) {
        let mut model = Model::new(shares.0, shares.1);
        for step in &steps {
            model.take(step);
        }
        model.end(by_the_writer);
    }
}
