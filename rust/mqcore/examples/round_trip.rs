//! How long a request and its answer take between a REQ and a REP in another thread.
//!
//! `cargo run --release -p mqcore --example round_trip -- tcp://127.0.0.1:* 16 100000`
//!
//! Over ipc and tcp each side has its own context, and with it an I/O thread, as two processes would have.
//! The clock starts after a first round trip, which is not counted. `benches/native` reads the figure and
//! compares it with libzmq's.

use std::thread;
use std::time::Instant;

use mqcore::{Context, Frame, Message, OptionValue, SocketType};

const LAST_ENDPOINT: i32 = 32;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments.next().unwrap_or("inproc://round_trip".into());
    let mut number = |default| {
        arguments.next().map_or(default, |text| {
            text.parse().expect("a size and a count of round trips")
        })
    };
    let (size, count) = (number(16), number(100_000));

    let context = Context::new();
    let rep = context.socket(SocketType::Rep as i32).unwrap();
    rep.bind(&endpoint).unwrap();
    let OptionValue::Bytes(address) = rep.option(LAST_ENDPOINT).unwrap() else {
        unreachable!("LAST_ENDPOINT is text");
    };
    let address = String::from_utf8(address).unwrap();
    let echo = thread::spawn(move || {
        for _ in 0..=count {
            let request = rep.recv_until(None).unwrap();
            rep.send_until(request, None).unwrap();
        }
        rep.close();
    });

    let far_context = match address.starts_with("inproc:") {
        true => context.clone(),
        false => Context::new(),
    };
    let req = far_context.socket(SocketType::Req as i32).unwrap();
    req.connect(&address).unwrap();
    let payload = vec![7; size];
    let ask = || {
        let request = Message::from(Frame::copy_from_slice(&payload));
        req.send_until(request, None).unwrap();
        assert_eq!(req.recv_until(None).unwrap().first().len(), size);
    };
    ask();
    let start = Instant::now();
    for _ in 0..count {
        ask();
    }
    let trip = start.elapsed().as_secs_f64() / count as f64;
    println!("{:.3} us", trip * 1e6);

    echo.join().unwrap();
    req.close();
    far_context.term(None).unwrap();
    context.term(None).unwrap();
}
