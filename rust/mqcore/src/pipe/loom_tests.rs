//! The contract of sleeping and closing, in every order that two threads can have.

use super::*;
use loom::sync::atomic::AtomicUsize as Counter;
use loom::thread;

/// Counts its calls where loom sees them.
struct Calls(loom::sync::Arc<Counter>);

impl Wake for Calls {
    fn wake(&self, _token: u64) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn waker(calls: &loom::sync::Arc<Counter>) -> Waker {
    Waker::new(std::sync::Arc::new(Calls(calls.clone())), 0)
}

fn message() -> Message {
    Message::from("x")
}

#[test]
fn loom_reader_that_found_nothing_is_called_or_finds_the_message() {
    loom::model(|| {
        let calls = loom::sync::Arc::new(Counter::new(0));
        let (mut writer, mut reader) = pipe(Bound::messages(0));
        reader.set_waker(waker(&calls));
        let thread = thread::spawn(move || {
            writer.write(message());
            writer.flush();
            writer // closing would call too
        });
        let found = reader.read();
        let writer = thread.join().unwrap();
        match found {
            Read::Message(_) => {}
            Read::Empty => assert_eq!(calls.load(Ordering::SeqCst), 1),
            Read::Closed => panic!("the writer lives"),
        }
        drop(writer);
    });
}

#[test]
fn loom_writer_that_found_no_room_is_called_or_finds_room() {
    loom::model(|| {
        let calls = loom::sync::Arc::new(Counter::new(0));
        let (mut writer, mut reader) = pipe(Bound::messages(1));
        writer.set_waker(waker(&calls));
        writer.write(message());
        writer.flush();
        let thread = thread::spawn(move || {
            assert!(matches!(reader.read(), Read::Message(_)));
            reader // closing would call too
        });
        let room = writer.has_room();
        let reader = thread.join().unwrap();
        assert!(room || calls.load(Ordering::SeqCst) == 1);
        drop(reader);
    });
}

#[test]
fn loom_room_for_a_run_comes_with_its_messages() {
    loom::model(|| {
        let calls = loom::sync::Arc::new(Counter::new(0));
        let (mut writer, mut reader) = pipe(Bound::messages(2));
        writer.set_waker(waker(&calls));
        let mut run = mqcore_proto::RunBuilder::default();
        run.push(b"x");
        run.push(b"y");
        writer.write_run(run.finish());
        writer.flush();
        let thread = thread::spawn(move || {
            assert!(matches!(reader.read(), Read::Message(_)));
            assert_eq!(reader.read_more(2, &mut |_| ()), 1);
            assert_eq!(reader.queued(), 0);
            reader // closing would call too
        });
        let room = writer.room();
        let reader = thread.join().unwrap();
        assert!(room > 0 || calls.load(Ordering::SeqCst) == 1);
        drop(reader);
    });
}

#[test]
fn loom_everything_written_before_the_end_is_read_before_closed() {
    loom::model(|| {
        let calls = loom::sync::Arc::new(Counter::new(0));
        let (mut writer, mut reader) = pipe(Bound::messages(0));
        reader.set_waker(waker(&calls));
        let thread = thread::spawn(move || {
            writer.write(message());
            drop(writer);
        });
        let mut messages = 0;
        let first = reader.read();
        let closed_early = first == Read::Closed;
        messages += usize::from(matches!(first, Read::Message(_)));
        thread.join().unwrap();
        assert!(!closed_early);
        assert!(calls.load(Ordering::SeqCst) >= 1);
        while let Read::Message(_) = reader.read() {
            messages += 1;
        }
        assert_eq!(messages, 1);
        assert_eq!(reader.read(), Read::Closed);
    });
}

#[test]
fn loom_end_of_the_reader_reaches_a_writer_that_sets_its_waker_late() {
    loom::model(|| {
        let calls = loom::sync::Arc::new(Counter::new(0));
        let (mut writer, reader) = pipe(Bound::messages(0));
        let thread = thread::spawn(move || drop(reader));
        writer.set_waker(waker(&calls));
        let closed = writer.is_closed();
        thread.join().unwrap();
        assert!(closed || calls.load(Ordering::SeqCst) == 1);
    });
}

#[test]
fn loom_writer_that_waits_for_bytes_to_be_taken_is_called_or_finds_them_taken() {
    loom::model(|| {
        let calls = loom::sync::Arc::new(Counter::new(0));
        let (mut writer, mut reader) = pipe(Bound::messages(0));
        writer.set_waker(waker(&calls));
        writer.write(vec![7; 600 * 1024].as_slice().into());
        writer.flush();
        let thread = thread::spawn(move || {
            assert!(matches!(reader.read(), Read::Message(_)));
            reader // closing would call too
        });
        writer.wait_until_eased();
        let eased = writer.is_eased();
        let reader = thread.join().unwrap();
        assert!(eased || calls.load(Ordering::SeqCst) == 1);
        drop(reader);
    });
}
