//! Native throughput and latency of the engine, between two threads of one process.
//!
//! `cargo run --release -p mqcore --example throughput -- tcp://127.0.0.1:* 16 1000000`

use std::time::Instant;

use mqcore::{Context, Frame, Message, OptionValue, SocketType};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments.next().unwrap_or("inproc://throughput".into());
    let size: usize = arguments.next().map_or(16, |text| text.parse().unwrap());
    let count: usize = arguments
        .next()
        .map_or(1_000_000, |text| text.parse().unwrap());
    let context = Context::new();
    let pull = context.socket(SocketType::Pull as i32).unwrap();
    pull.bind(&endpoint).unwrap();
    let OptionValue::Bytes(address) = pull.option(32).unwrap() else {
        unreachable!()
    };
    let address = String::from_utf8(address).unwrap();
    let sender = {
        let context = context.clone();
        std::thread::spawn(move || {
            let push = context.socket(SocketType::Push as i32).unwrap();
            push.connect(&address).unwrap();
            let payload = vec![7; size];
            for _ in 0..=count {
                push.send_until(Message::from(Frame::copy_from_slice(&payload)), None)
                    .unwrap();
            }
            push.close();
        })
    };
    pull.recv_until(None).unwrap();
    let start = Instant::now();
    for _ in 0..count {
        assert_eq!(pull.recv_until(None).unwrap().first().len(), size);
    }
    let took = start.elapsed();
    println!(
        "push/pull {size} B: {:.2} M messages/s",
        count as f64 / took.as_secs_f64() / 1e6
    );
    sender.join().unwrap();
    pull.close();

    let rep = context.socket(SocketType::Rep as i32).unwrap();
    rep.bind(&endpoint).unwrap();
    let OptionValue::Bytes(address) = rep.option(32).unwrap() else {
        unreachable!()
    };
    let address = String::from_utf8(address).unwrap();
    let trips = 30_000;
    let echo = {
        let rep = rep.clone();
        std::thread::spawn(move || {
            for _ in 0..trips {
                let request = rep.recv_until(None).unwrap();
                rep.send_until(request, None).unwrap();
            }
        })
    };
    let req = context.socket(SocketType::Req as i32).unwrap();
    req.connect(&address).unwrap();
    let start = Instant::now();
    for _ in 0..trips {
        req.send_until(Message::from(&[1_u8; 16]), None).unwrap();
        req.recv_until(None).unwrap();
    }
    println!(
        "req/rep round trip: {:.1} us",
        start.elapsed().as_secs_f64() / f64::from(trips) * 1e6
    );
    echo.join().unwrap();
    req.close();
    rep.close();
    context.term(None).unwrap();
}
