//! What the codec costs: messages into a ready [`Connection`], and bytes back into messages.
//!
//! Batches have the size that the engine uses: 64 KiB of output before a write, reads of 64 KiB, the body of
//! a large frame straight into its place. No byte is copied to or from a kernel; each end of a batch is only
//! looked at. Throughput counts messages.
//!
//! `cargo bench -p mqcore-proto`

use std::hint::black_box;
use std::io::IoSlice;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mqcore_proto::{Config, Connection, Event, Frame, Message, SocketType};

/// Bytes of a batch, and of a read.
const BATCH_BYTES: usize = 64 * 1024;

/// A batch has so many messages at least, so that large ones are not measured one by one.
const BATCH_LEAST: usize = 16;

/// The messages measured: their name and the sizes of their frames.
const SHAPES: [(&str, &[usize]); 6] = [
    ("16 B", &[16]),
    ("64 B", &[64]),
    ("1 KiB", &[1024]),
    ("64 KiB", &[64 * 1024]),
    ("3 x 16 B", &[16; 3]),
    ("3 x 1 KiB", &[1024; 3]),
];

fn batch(frames: &[usize]) -> Vec<Message> {
    let count = (BATCH_BYTES / frames.iter().sum::<usize>()).max(BATCH_LEAST);
    (0..count)
        .map(|number| {
            let frame = |&size: &usize| Frame::from(vec![number as u8; size]);
            Message::from_frames(frames.iter().map(frame).collect())
        })
        .collect()
}

/// Takes off what waits to be written, and gives each piece to `look`.
fn write(connection: &mut Connection, mut look: impl FnMut(&[u8])) {
    while connection.transmit_len() > 0 {
        let mut slices = [IoSlice::new(&[]); 32];
        let count = connection.transmit_slices(&mut slices);
        slices[..count].iter().for_each(|slice| look(slice));
        let bytes = slices[..count].iter().map(|slice| slice.len()).sum();
        connection.transmitted(bytes);
    }
}

fn written(connection: &mut Connection) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(connection, |piece| bytes.extend_from_slice(piece));
    bytes
}

/// Gives `input` to the connection as the engine does, and each message to `take`.
fn read(connection: &mut Connection, mut input: &[u8], now: Instant, mut take: impl FnMut(Event)) {
    while !input.is_empty() {
        let mut fresh = match connection.body_buffer() {
            Some(body) => {
                let count = input.len().min(body.capacity() - body.len());
                body.extend_from_slice(&input[..count]);
                input = &input[count..];
                &[][..]
            }
            None => {
                let (fresh, rest) = input.split_at(input.len().min(BATCH_BYTES));
                input = rest;
                fresh
            }
        };
        while let Some(event) = connection.receive(&mut fresh, now).expect("a good peer") {
            take(event);
        }
    }
}

/// A PUSH and a PULL that have greeted each other.
fn ready_pair(now: Instant) -> (Connection, Connection) {
    let mut push = Connection::new(Config::new(SocketType::Push), now);
    let mut pull = Connection::new(Config::new(SocketType::Pull), now);
    while push.transmit_len() + pull.transmit_len() > 0 {
        read(&mut pull, &written(&mut push), now, drop);
        read(&mut push, &written(&mut pull), now, drop);
    }
    assert!(push.is_ready() && pull.is_ready());
    (push, pull)
}

fn codec(criterion: &mut Criterion) {
    #[expect(
        clippy::disallowed_methods,
        reason = "a fake clock has to begin somewhere"
    )]
    let now = Instant::now();
    let (mut push, mut pull) = ready_pair(now);

    let mut group = criterion.benchmark_group("encode");
    for (name, frames) in SHAPES {
        let messages = batch(frames);
        group.throughput(Throughput::Elements(messages.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| {
                for message in &messages {
                    push.send(message.clone());
                    if push.transmit_len() >= BATCH_BYTES {
                        write(&mut push, |piece| {
                            black_box(piece);
                        });
                    }
                }
                write(&mut push, |piece| {
                    black_box(piece);
                });
            });
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("decode");
    for (name, frames) in SHAPES {
        let messages = batch(frames);
        messages
            .iter()
            .cloned()
            .for_each(|message| push.send(message));
        let bytes = written(&mut push);
        let mut decoded = Vec::new();
        read(&mut pull, &bytes, now, |event| decoded.push(event));
        assert!(
            decoded
                .into_iter()
                .eq(messages.iter().cloned().map(Event::Message))
        );
        group.throughput(Throughput::Elements(messages.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| {
                read(&mut pull, &bytes, now, |event| {
                    black_box(event);
                });
            });
        });
    }
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
