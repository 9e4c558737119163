//! What a pipe costs: writing, flushing and reading, in one thread and between two.
//!
//! In one thread it is the price of the operations; between two, that of the cache lines and wakes as well.
//! Throughput counts messages.
//!
//! `cargo bench -p mqcore --bench pipe`

use std::hint::black_box;
use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use mqcore::Message;
use mqcore::pipe::{Bound, PipeReader, PipeWriter, Read, Wake, Waker, pipe};

/// Messages of one measurement between two threads.
const COUNT: usize = 200_000;

/// The default high-water mark.
const HWM: usize = 1000;

const PAYLOAD: [u8; 16] = [7; 16];

/// How many messages go by between two flushes: as `send` does it, and as a busy session does.
const BATCHES: [usize; 2] = [1, 32];

/// Calls a thread that parks when it finds nothing to do.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(&self, _token: u64) {
        self.0.unpark();
    }
}

/// Calls the thread that asks for it.
fn own_waker() -> Waker {
    Waker::new(Arc::new(Unpark(thread::current())), 0)
}

fn write_all(mut writer: PipeWriter, batch: usize) {
    writer.set_waker(own_waker());
    let mut unflushed = 0;
    for _ in 0..=COUNT {
        while !writer.has_room() {
            writer.flush();
            unflushed = 0;
            thread::park();
        }
        writer.write(Message::from(&PAYLOAD));
        unflushed += 1;
        if unflushed == batch {
            writer.flush();
            unflushed = 0;
        }
    }
}

/// How long it takes to read all messages, from the first one on.
fn read_all(mut reader: PipeReader) -> Duration {
    reader.set_waker(own_waker());
    let mut start = None;
    let mut seen = 0;
    loop {
        match reader.read() {
            Read::Message(message) => {
                black_box(&message);
                start.get_or_insert_with(Instant::now);
                seen += 1;
            }
            Read::Empty => thread::park(),
            Read::Closed => break,
        }
    }
    let took = start.expect("a first message").elapsed();
    assert_eq!(seen, COUNT + 1);
    took
}

fn pipes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pipe, one thread");
    for batch in BATCHES {
        let (mut writer, mut reader) = pipe(Bound::messages(HWM));
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(BenchmarkId::new("messages per flush", batch), |bencher| {
            bencher.iter(|| {
                for _ in 0..batch {
                    assert!(writer.has_room());
                    writer.write(Message::from(&PAYLOAD));
                }
                writer.flush();
                for _ in 0..batch {
                    assert!(matches!(black_box(reader.read()), Read::Message(_)));
                }
            });
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("pipe, two threads");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.throughput(Throughput::Elements(COUNT as u64));
    for batch in BATCHES {
        group.bench_function(BenchmarkId::new("messages per flush", batch), |bencher| {
            bencher.iter_custom(|iterations| {
                let measure = |_| {
                    let (writer, reader) = pipe(Bound::messages(HWM));
                    let thread = thread::spawn(move || write_all(writer, batch));
                    let took = read_all(reader);
                    thread.join().expect("the writer does not panic");
                    took
                };
                (0..iterations).map(measure).sum()
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = pipes
}
criterion_main!(benches);
