//! One thread at both ends: what is read, who is called, what counts.

use super::*;
use mqcore_proto::RunBuilder;
use std::sync::Arc;

/// Remembers the tokens it was called with.
#[derive(Default)]
pub(super) struct Calls(Mutex<Vec<u64>>);

impl Wake for Calls {
    fn wake(&self, token: u64) {
        lock(&self.0).push(token);
    }
}

impl Calls {
    pub(super) fn take(&self) -> Vec<u64> {
        std::mem::take(&mut *lock(&self.0))
    }
}

pub(super) const READER: u64 = 1;
pub(super) const WRITER: u64 = 2;

fn watched(bound: Bound) -> (PipeWriter, PipeReader, Arc<Calls>) {
    let calls = Arc::new(Calls::default());
    let (mut writer, mut reader) = pipe(bound);
    writer.set_waker(Waker::new(calls.clone(), WRITER));
    reader.set_waker(Waker::new(calls.clone(), READER));
    (writer, reader, calls)
}

fn message(number: usize) -> Message {
    number.to_string().as_str().into()
}

#[test]
fn only_a_sleeping_reader_is_called_and_once() {
    let (mut writer, mut reader, calls) = watched(Bound::messages(0));
    writer.write(message(0));
    writer.flush();
    assert!(calls.take().is_empty(), "an end that never slept is awake");
    assert_eq!(reader.read(), Read::Message(message(0)));
    assert_eq!(reader.read(), Read::Empty);
    writer.write(message(1));
    assert!(calls.take().is_empty(), "nothing is visible before flush");
    writer.flush();
    writer.write(message(2));
    writer.flush();
    assert_eq!(calls.take(), [READER]);
}

#[test]
fn full_pipe_refuses_and_calls_the_writer_at_half() {
    let (mut writer, mut reader, calls) = watched(Bound::messages(10));
    for number in 0..10 {
        writer.try_write(message(number)).unwrap();
    }
    assert_eq!(writer.try_write(message(10)), Err(message(10)));
    writer.flush();
    for number in 0..4 {
        assert_eq!(reader.read(), Read::Message(message(number)));
    }
    assert!(calls.take().is_empty());
    for number in 4..10 {
        assert_eq!(reader.read(), Read::Message(message(number)));
    }
    assert_eq!(calls.take(), [WRITER]);
    assert!(writer.has_room());
}

#[test]
fn writer_of_a_pipe_of_one_is_called_after_every_read() {
    let (mut writer, mut reader, calls) = watched(Bound::messages(1));
    for number in 0..3 {
        writer.try_write(message(number)).unwrap();
        writer.flush();
        assert!(!writer.has_room());
        assert_eq!(reader.read(), Read::Message(message(number)));
        assert_eq!(calls.take(), [WRITER]);
    }
}

#[test]
fn dropped_writer_leaves_everything_to_the_reader() {
    let (mut writer, mut reader, calls) = watched(Bound::messages(0));
    writer.write(message(0));
    writer.write(message(1));
    drop(writer);
    assert_eq!(calls.take(), [READER]);
    assert_eq!(reader.read(), Read::Message(message(0)));
    assert_eq!(reader.read(), Read::Message(message(1)));
    assert_eq!(reader.read(), Read::Closed);
    assert_eq!(reader.read(), Read::Closed);
}

#[test]
fn epilogue_is_read_once_after_everything_else() {
    let (mut writer, mut reader, calls) = watched(Bound::messages(0));
    reader.set_epilogue(message(9));
    writer.write(message(0));
    writer.flush();
    assert_eq!(reader.read(), Read::Message(message(0)));
    assert_eq!(reader.read(), Read::Empty);
    assert!(!reader.has_message());
    drop(writer);
    assert_eq!(calls.take(), [READER]);
    assert!(reader.has_message());
    assert_eq!(reader.read(), Read::Message(message(9)));
    assert!(!reader.has_message());
    assert_eq!(reader.read(), Read::Closed);
}

#[test]
fn dropped_reader_is_told_to_the_writer() {
    let (writer, reader, calls) = watched(Bound::messages(0));
    drop(reader);
    assert_eq!(calls.take(), [WRITER]);
    assert!(writer.is_closed());
}

#[test]
fn conflating_pipe_keeps_the_newest_only() {
    let (mut writer, mut reader, calls) = watched(Bound {
        conflate: true,
        ..Bound::messages(1)
    });
    assert_eq!(reader.read(), Read::Empty);
    for number in 0..5 {
        writer.try_write(message(number)).unwrap();
        writer.flush();
    }
    assert_eq!(calls.take(), [READER]);
    assert_eq!(reader.read(), Read::Message(message(4)));
    assert_eq!(reader.read(), Read::Empty);
}

/// A run of these numbers as messages.
fn run(numbers: std::ops::Range<usize>) -> Run {
    let mut builder = RunBuilder::default();
    for number in numbers {
        builder.push(number.to_string().as_bytes());
    }
    builder.finish()
}

#[test]
fn run_counts_as_its_messages_and_is_read_one_by_one() {
    let (mut writer, mut reader, calls) = watched(Bound::messages(10));
    let gauge = writer.gauge();
    writer.write(message(0));
    assert_eq!(writer.room(), 9);
    writer.write_run(run(1..10));
    writer.write_run(run(0..0));
    assert_eq!((writer.room(), gauge.queued()), (0, 0));
    writer.flush();
    assert_eq!((gauge.queued(), reader.queued()), (10, 10));
    for number in 0..5 {
        assert_eq!(reader.read(), Read::Message(message(number)));
    }
    assert_eq!((calls.take(), reader.queued()), (vec![WRITER], 5));
    assert_eq!(writer.room(), 5);
    for number in 5..10 {
        let read = reader.read_with(|read| *read == message(number));
        assert_eq!(read, Read::Message(true));
    }
    assert_eq!(reader.read(), Read::Empty);
    assert_eq!((gauge.queued(), writer.queued(), writer.room()), (0, 0, 10));
}

#[test]
fn rest_of_a_run_can_be_taken_at_once() {
    let (mut writer, mut reader, _) = watched(Bound::messages(0));
    assert_eq!(writer.room(), usize::MAX);
    writer.write_run(run(0..4));
    writer.write(message(4));
    writer.write_run(run(5..7));
    writer.flush();
    let mut more: Vec<Message> = Vec::new();
    let mut look = |payload: &[u8]| more.push(payload.into());
    assert_eq!(reader.read_more(9, &mut look), 0, "nothing was begun");
    assert_eq!(reader.read(), Read::Message(message(0)));
    assert_eq!(reader.read_more(2, &mut look), 2);
    let rest = reader.read_many(|queued| matches!(queued, Queued::Run(run) if run.len() == 1));
    assert_eq!(rest, Read::Message(true));
    assert_eq!(reader.read_more(9, &mut |_| ()), 0);
    assert_eq!(more, [message(1), message(2)]);
    let single = reader.read_many(|queued| matches!(queued, Queued::Message(_)));
    let run = reader.read_many(|queued| matches!(queued, Queued::Run(run) if run.len() == 2));
    assert_eq!((single, run), (Read::Message(true), Read::Message(true)));
    assert_eq!(reader.queued(), 0);
    drop(writer);
    assert_eq!(reader.read(), Read::Closed);
}

#[test]
fn run_that_was_begun_goes_with_its_reader_and_the_newest_of_one_stays() {
    let (mut writer, mut reader, _) = watched(Bound::messages(3));
    writer.write_run(run(0..3));
    writer.flush();
    assert_eq!(reader.read(), Read::Message(message(0)));
    drop(reader);
    assert!(writer.is_closed() && writer.room() == 3);
    let (mut writer, mut reader, _) = watched(Bound {
        conflate: true,
        ..Bound::messages(1)
    });
    writer.write_run(run(0..3));
    assert_eq!(reader.read(), Read::Message(message(2)));
    assert_eq!(reader.read(), Read::Empty);
}

#[test]
fn shares_of_both_ends_add_up_and_zero_is_no_bound() {
    assert_eq!(total(3, 4), 7);
    assert_eq!(total(3, NO_SHARE), 3);
    assert_eq!(total(NO_SHARE, 4), 4);
    assert_eq!(total(0, 4), 0);
    assert_eq!(total(NO_SHARE, NO_SHARE), 0);
    let (mut writer, mut reader) = pipe(Bound::messages(1));
    writer.write(message(0));
    assert!(!writer.has_room());
    reader.set_hwm(1);
    assert!(writer.has_room());
}

#[test]
fn raised_bound_calls_a_sleeping_writer() {
    let (mut writer, _reader, calls) = watched(Bound::messages(1));
    writer.write(message(0));
    assert!(!writer.has_room());
    writer.set_hwm(2);
    assert_eq!(calls.take(), [WRITER]);
    assert!(writer.has_room());
}

/// A message of `kilobytes` in memory of its own.
fn long(kilobytes: usize) -> Message {
    vec![7; kilobytes * 1024].as_slice().into()
}

#[test]
fn writer_of_many_bytes_is_called_when_half_of_them_are_taken() {
    let (mut writer, mut reader, calls) = watched(Bound::messages(0));
    for _ in 0..7 {
        writer.write(long(64));
        assert!(!writer.is_laden());
    }
    writer.write(long(64));
    writer.flush();
    assert!(writer.is_laden());
    writer.wait_until_eased();
    for _ in 0..3 {
        assert!(matches!(reader.read(), Read::Message(_)));
    }
    assert!(!writer.is_eased() && !writer.is_laden());
    assert!(calls.take().is_empty());
    let taken = reader.read_with(|message| std::mem::take(message).byte_len());
    assert_eq!((taken, calls.take()), (Read::Message(65_536), vec![WRITER]));
    assert!(writer.is_eased());
    while let Read::Message(_) = reader.read() {}
    assert!(calls.take().is_empty(), "once for each wait");
}

#[test]
fn writer_far_ahead_waits_for_a_step_at_a_time() {
    let (mut writer, mut reader, calls) = watched(Bound::messages(0));
    for _ in 0..100 {
        writer.write(long(64));
    }
    writer.flush();
    for _ in 0..23 {
        assert!(writer.is_laden());
        writer.wait_until_eased();
        for _ in 0..4 {
            assert!(!writer.is_eased() && calls.take().is_empty());
            assert!(matches!(reader.read(), Read::Message(_)));
        }
        assert!(writer.is_eased());
        assert_eq!(calls.take(), [WRITER]);
    }
    writer.wait_until_eased();
    assert!(!writer.is_eased());
    drop(reader);
    assert_eq!(calls.take(), [WRITER], "the end is told in any case");
}

#[test]
fn reader_that_did_not_move_is_not_waited_for_again_before_it_has() {
    let (mut writer, mut reader, _) = watched(Bound::messages(0));
    for _ in 0..20 {
        writer.write(long(64));
    }
    writer.flush();
    writer.wait_until_eased();
    writer.give_up();
    assert!(!writer.is_laden());
    assert!(matches!(reader.read(), Read::Message(_)));
    assert!(writer.is_laden());
    writer.wait_until_eased();
    assert!(matches!(reader.read(), Read::Message(_)));
    writer.give_up();
    assert!(writer.is_laden(), "it moved, if not as far as was hoped");
}

#[test]
fn short_messages_load_nothing_and_runs_what_is_in_them() {
    let (mut writer, mut reader, calls) = watched(Bound::messages(0));
    for number in 0..100_000 {
        writer.write(message(number));
    }
    assert!(!writer.is_laden());
    for _ in 0..600 {
        let mut builder = RunBuilder::default();
        for _ in 0..10 {
            builder.push(&[7; 100]);
        }
        writer.write_run(builder.finish());
    }
    writer.flush();
    assert!(writer.is_laden());
    writer.wait_until_eased();
    assert!(!writer.is_eased());
    while let Read::Message(_) = reader.read_many(|_| ()) {}
    assert_eq!(calls.take(), [WRITER]);
    assert!(!writer.is_laden() && writer.is_eased());
}

#[test]
fn sleeping_reader_learns_how_much_it_is_called_for() {
    let (mut writer, mut reader, calls) = watched(Bound::messages(0));
    assert_eq!((reader.read(), reader.queued_bytes()), (Read::Empty, 0));
    writer.write(long(64));
    writer.write(long(1));
    writer.write(message(0));
    writer.flush();
    assert_eq!(
        (calls.take(), reader.queued_bytes()),
        (vec![READER], 65 * 1024)
    );
    assert!(matches!(reader.read(), Read::Message(_)));
    assert_eq!(reader.queued_bytes(), 1024);
    writer.write(long(64));
    writer.flush();
    while let Read::Message(_) = reader.read() {}
    assert_eq!(reader.queued_bytes(), 0, "it was not called for the last");
}
