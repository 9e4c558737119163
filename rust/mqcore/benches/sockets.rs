//! What the engine does for an application in Rust: throughput, round trips, and matching of subscriptions.
//!
//! Default options, one context, one message per call. The two sides of a connection are two threads of this
//! process; over ipc and tcp they share the context's I/O thread. `benches/native` compares with libzmq.
//!
//! `cargo bench -p mqcore --bench sockets`

use std::thread;
use std::time::{Duration, Instant};

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use mqcore::{Context, Errno, Frame, Message, OptionValue, Socket, SocketType};

const SUBSCRIBE: i32 = 6;
const LAST_ENDPOINT: i32 = 32;

const ENDPOINTS: [(&str, &str); 3] = [
    ("inproc", "inproc://bench"),
    ("ipc", "ipc://*"),
    ("tcp", "tcp://127.0.0.1:*"),
];

/// Messages of one measurement of throughput.
const COUNT: usize = 200_000;

const PAYLOAD: [u8; 16] = [7; 16];

/// Messages on their way to a subscriber at once: fewer than the high-water mark, so that none is dropped.
const PUBLISHED: usize = 500;

/// Two sockets that know each other, and their context.
struct Pair {
    context: Context,
    bound: Socket,
    connected: Socket,
}

impl Pair {
    fn new(endpoint: &str, bound: SocketType, connected: SocketType) -> Self {
        let context = Context::new();
        let bound = context.socket(bound as i32).unwrap();
        bound.bind(endpoint).unwrap();
        let OptionValue::Bytes(address) = bound.option(LAST_ENDPOINT).unwrap() else {
            unreachable!("LAST_ENDPOINT is text");
        };
        let connected = context.socket(connected as i32).unwrap();
        let address = String::from_utf8(address).unwrap();
        connected.connect(&address).unwrap();
        Self {
            context,
            bound,
            connected,
        }
    }

    fn end(self) {
        self.bound.close();
        self.connected.close();
        self.context.term(None).unwrap();
    }
}

/// How long COUNT messages take, from the arrival of one more on.
fn push_and_pull(push: &Socket, pull: &Socket) -> Duration {
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..=COUNT {
                push.send_until(Message::from(&PAYLOAD), None).unwrap();
            }
        });
        pull.recv_until(None).unwrap();
        let start = Instant::now();
        for _ in 0..COUNT {
            assert_eq!(pull.recv_until(None).unwrap().first().len(), PAYLOAD.len());
        }
        start.elapsed()
    })
}

fn throughput(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("PUSH to PULL, 16 B");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.throughput(Throughput::Elements(COUNT as u64));
    for (transport, endpoint) in ENDPOINTS {
        let pair = Pair::new(endpoint, SocketType::Pull, SocketType::Push);
        group.bench_function(transport, |bencher| {
            bencher.iter_custom(|iterations| {
                (0..iterations)
                    .map(|_| push_and_pull(&pair.connected, &pair.bound))
                    .sum()
            });
        });
        pair.end();
    }
    group.finish();
}

/// Answers each request with itself; an empty one is the last.
fn echo(rep: &Socket) {
    loop {
        let request = rep.recv_until(None).unwrap();
        let is_last = request.first().is_empty();
        rep.send_until(request, None).unwrap();
        if is_last {
            return;
        }
    }
}

fn round_trips(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("REQ and REP, 16 B");
    for (transport, endpoint) in ENDPOINTS {
        let pair = Pair::new(endpoint, SocketType::Rep, SocketType::Req);
        let ask = |request| {
            pair.connected.send_until(request, None).unwrap();
            pair.connected.recv_until(None).unwrap()
        };
        thread::scope(|scope| {
            scope.spawn(|| echo(&pair.bound));
            group.bench_function(transport, |bencher| {
                bencher.iter(|| ask(Message::from(&PAYLOAD)));
            });
            ask(Frame::empty().into());
        });
        pair.end();
    }
    group.finish();
}

fn topic(number: usize) -> String {
    format!("topic {number:06} ")
}

/// As many messages as may be on their way, of the topics `first..first + topics` in turn.
fn publications(first: usize, topics: usize) -> Vec<Message> {
    (first..first + topics)
        .cycle()
        .take(PUBLISHED)
        .map(|number| Message::from(format!("{:<64}", topic(number)).as_str()))
        .collect()
}

/// Waits until the subscriptions, of which `last` is the last one, have reached the publisher.
fn settle(publisher: &Socket, subscriber: &Socket, last: &Message) {
    loop {
        publisher.send_until(last.clone(), None).unwrap();
        match subscriber.recv_until(Some(Instant::now() + Duration::from_millis(1))) {
            Ok(message) => break assert_eq!(message, *last),
            Err(error) => assert_eq!(error.errno(), Errno::AGAIN),
        }
    }
}

/// Both sides in one thread: the time is that of the calls, without any waiting.
fn subscriptions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("PUB to SUB over inproc, 64 B");
    group.throughput(Throughput::Elements(PUBLISHED as u64));
    for prefixes in [1, 1_000, 100_000] {
        let pair = Pair::new("inproc://bench", SocketType::Pub, SocketType::Sub);
        let (publisher, subscriber) = (&pair.bound, &pair.connected);
        for number in 0..prefixes {
            let prefix = OptionValue::Bytes(topic(number).into_bytes());
            subscriber.set_option(SUBSCRIBE, &prefix).unwrap();
        }
        settle(publisher, subscriber, &publications(prefixes - 1, 1)[0]);

        let wanted = publications(0, prefixes);
        group.bench_function(
            BenchmarkId::new("delivered, prefixes", prefixes),
            |bencher| {
                bencher.iter(|| {
                    for message in &wanted {
                        publisher.send_until(message.clone(), None).unwrap();
                    }
                    for _ in &wanted {
                        subscriber.recv_until(None).unwrap();
                    }
                });
            },
        );

        let unwanted = publications(prefixes, prefixes);
        group.bench_function(
            BenchmarkId::new("unwanted, prefixes", prefixes),
            |bencher| {
                bencher.iter(|| {
                    for message in &unwanted {
                        publisher.send_until(message.clone(), None).unwrap();
                    }
                });
            },
        );
        assert_eq!(subscriber.try_recv().unwrap_err().errno(), Errno::AGAIN);
        pair.end();
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = throughput, round_trips, subscriptions
}
criterion_main!(benches);
