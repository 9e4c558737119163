//! How many messages a second go from a PUSH to a PULL in another thread, one by one.
//!
//! `cargo run --release -p mqcore --example throughput -- tcp://127.0.0.1:* 16 1000000`
//!
//! Over ipc and tcp each side has its own context, and with it an I/O thread, as two processes would have.
//! The clock starts when a first message, which is not counted, has arrived. `benches/native` reads the
//! figure and compares it with libzmq's.

use std::thread;
use std::time::Instant;

use mqcore::{Context, Frame, Message, OptionValue, SocketType};

const LAST_ENDPOINT: i32 = 32;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments.next().unwrap_or("inproc://throughput".into());
    let mut number = |default| {
        arguments.next().map_or(default, |text| {
            text.parse().expect("a size and a count of messages")
        })
    };
    let (size, count) = (number(16), number(1_000_000));

    let context = Context::new();
    let pull = context.socket(SocketType::Pull as i32).unwrap();
    pull.bind(&endpoint).unwrap();
    let OptionValue::Bytes(address) = pull.option(LAST_ENDPOINT).unwrap() else {
        unreachable!("LAST_ENDPOINT is text");
    };
    let address = String::from_utf8(address).unwrap();

    let far_context = match address.starts_with("inproc:") {
        true => context.clone(),
        false => Context::new(),
    };
    let push = far_context.socket(SocketType::Push as i32).unwrap();
    push.connect(&address).unwrap();
    let sender = thread::spawn(move || {
        let payload = vec![7; size];
        for _ in 0..=count {
            let message = Message::from(Frame::copy_from_slice(&payload));
            push.send_until(message, None).unwrap();
        }
        push.close();
    });

    pull.recv_until(None).unwrap();
    let start = Instant::now();
    for _ in 0..count {
        assert_eq!(pull.recv_until(None).unwrap().first().len(), size);
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    println!("{rate:.0} messages/s");

    sender.join().unwrap();
    pull.close();
    far_context.term(None).unwrap();
    context.term(None).unwrap();
}
