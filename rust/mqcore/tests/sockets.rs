//! Every socket type over every transport, through the public API. Each test runs over inproc, ipc and tcp.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mqcore::{Context, Errno, Frame, Message, OptionValue, ReadInto, Socket, SocketType, Vessel};

const SUBSCRIBE: i32 = 6;
const UNSUBSCRIBE: i32 = 7;
const ROUTING_ID: i32 = 5;
const LINGER: i32 = 17;
const SNDHWM: i32 = 23;
const RCVHWM: i32 = 24;
const LAST_ENDPOINT: i32 = 32;
const ROUTER_MANDATORY: i32 = 33;
const RCVMORE: i32 = 13;

fn deadline() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(20))
}

fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_millis(50))
}

fn over_each_transport(test: impl Fn(&Context, &str)) {
    static NAMES: AtomicU32 = AtomicU32::new(0);
    for transport in ["inproc", "ipc", "tcp"] {
        println!("over {transport}");
        let context = Context::new();
        let endpoint = match transport {
            "inproc" => format!("inproc://{}", NAMES.fetch_add(1, Ordering::Relaxed)),
            "ipc" => "ipc://*".to_owned(),
            _ => "tcp://127.0.0.1:*".to_owned(),
        };
        test(&context, &endpoint);
        context.term(deadline()).expect("every socket was closed");
    }
}

fn socket(context: &Context, kind: SocketType) -> Socket {
    context.socket(kind as i32).unwrap()
}

fn bound(context: &Context, kind: SocketType, endpoint: &str) -> (Socket, String) {
    let socket = socket(context, kind);
    socket.bind(endpoint).unwrap();
    let address = last_endpoint(&socket);
    (socket, address)
}

fn connected(context: &Context, kind: SocketType, address: &str) -> Socket {
    let socket = socket(context, kind);
    socket.connect(address).unwrap();
    socket
}

fn last_endpoint(socket: &Socket) -> String {
    match socket.option(LAST_ENDPOINT).unwrap() {
        OptionValue::Bytes(text) => String::from_utf8(text).unwrap(),
        OptionValue::Int(_) => unreachable!("LAST_ENDPOINT is text"),
    }
}

fn set_int(socket: &Socket, option: i32, value: i64) {
    socket.set_option(option, &OptionValue::Int(value)).unwrap();
}

fn set_bytes(socket: &Socket, option: i32, value: &[u8]) {
    socket
        .set_option(option, &OptionValue::Bytes(value.to_vec()))
        .unwrap();
}

fn send(socket: &Socket, parts: &[&str]) {
    socket.send_until(message(parts), deadline()).unwrap();
}

fn message(parts: &[&str]) -> Message {
    Message::from_frames(parts.iter().map(|part| Frame::from(*part)).collect())
}

fn recv(socket: &Socket) -> Vec<String> {
    let message = socket.recv_until(deadline()).unwrap();
    message
        .parts()
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .collect()
}

fn refused(socket: &Socket, parts: &[&str]) -> Errno {
    socket.try_send(message(parts)).unwrap_err().0.errno()
}

#[test]
fn pair_exchanges_messages_both_ways() {
    over_each_transport(|context, endpoint| {
        let (a, address) = bound(context, SocketType::Pair, endpoint);
        let b = connected(context, SocketType::Pair, &address);
        send(&b, &["to a"]);
        assert_eq!(recv(&a), ["to a"]);
        send(&a, &["to", "b"]);
        assert_eq!(recv(&b), ["to", "b"]);
        a.close();
        b.close();
    });
}

#[test]
fn push_distributes_and_pull_collects_everything() {
    over_each_transport(|context, endpoint| {
        let (pull, address) = bound(context, SocketType::Pull, endpoint);
        let pushers: Vec<Socket> = (0..3)
            .map(|_| connected(context, SocketType::Push, &address))
            .collect();
        for round in 0..200 {
            for push in &pushers {
                send(push, &[&round.to_string()]);
            }
        }
        let mut sum = 0;
        for _ in 0..600 {
            sum += recv(&pull)[0].parse::<u32>().unwrap();
        }
        assert_eq!(sum, 3 * (0..200).sum::<u32>());
        for push in pushers {
            push.close();
        }
        pull.close();
    });
}

#[test]
fn request_goes_to_rep_and_the_reply_comes_back() {
    over_each_transport(|context, endpoint| {
        let (rep, address) = bound(context, SocketType::Rep, endpoint);
        let req = connected(context, SocketType::Req, &address);
        assert_eq!(refused(&rep, &["too early"]), Errno::FSM);
        for round in 0..50 {
            let body = round.to_string();
            send(&req, &["request", &body]);
            assert_eq!(refused(&req, &["again"]), Errno::FSM);
            assert_eq!(recv(&rep), ["request", &body]);
            send(&rep, &["reply", &body]);
            assert_eq!(recv(&req), ["reply", &body]);
        }
        req.close();
        rep.close();
    });
}

#[test]
fn router_names_its_peers_and_answers_each() {
    over_each_transport(|context, endpoint| {
        let (router, address) = bound(context, SocketType::Router, endpoint);
        let named = socket(context, SocketType::Dealer);
        set_bytes(&named, ROUTING_ID, b"named");
        named.connect(&address).unwrap();
        let unnamed = connected(context, SocketType::Dealer, &address);
        send(&named, &["hello"]);
        assert_eq!(recv(&router), ["named", "hello"]);
        send(&unnamed, &["hello", "too"]);
        let received = router.recv_until(deadline()).unwrap();
        let id = Frame::from(received.first());
        assert_eq!((id.len(), id[0]), (5, 0));
        router
            .send_until(
                Message::from_frames(vec![id, Frame::from("welcome")]),
                deadline(),
            )
            .unwrap();
        assert_eq!(recv(&unnamed), ["welcome"]);
        send(&router, &["named", "welcome", "back"]);
        assert_eq!(recv(&named), ["welcome", "back"]);
        send(&router, &["nobody", "is dropped"]);
        set_int(&router, ROUTER_MANDATORY, 1);
        assert_eq!(refused(&router, &["nobody", "x"]), Errno::HOSTUNREACH);
        for socket in [router, named, unnamed] {
            socket.close();
        }
    });
}

#[test]
fn subscriber_gets_what_it_subscribed_to() {
    over_each_transport(|context, endpoint| {
        let (xpub, address) = bound(context, SocketType::Xpub, endpoint);
        let sub = connected(context, SocketType::Sub, &address);
        set_bytes(&sub, SUBSCRIBE, b"weather");
        assert_eq!(recv(&xpub), ["\u{1}weather"]);
        send(&xpub, &["sports", "unwanted"]);
        send(&xpub, &["weather.rain", "wanted"]);
        assert_eq!(recv(&sub), ["weather.rain", "wanted"]);
        set_bytes(&sub, UNSUBSCRIBE, b"weather");
        assert_eq!(recv(&xpub), ["\u{0}weather"]);
        sub.close();
        xpub.close();
    });
}

#[test]
fn pub_sends_to_a_subscriber_that_is_there() {
    over_each_transport(|context, endpoint| {
        let (sub, address) = bound(context, SocketType::Sub, endpoint);
        set_bytes(&sub, SUBSCRIBE, b"");
        let publisher = connected(context, SocketType::Pub, &address);
        let end = deadline().unwrap();
        loop {
            send(&publisher, &["hello"]);
            match sub.recv_until(soon()) {
                Ok(received) => break assert_eq!(received, message(&["hello"])),
                Err(error) => assert_eq!(error.errno(), Errno::AGAIN),
            }
            assert!(Instant::now() < end, "the subscription never arrived");
        }
        sub.close();
        publisher.close();
    });
}

#[test]
fn xsub_subscribes_with_messages() {
    over_each_transport(|context, endpoint| {
        let (xpub, address) = bound(context, SocketType::Xpub, endpoint);
        let xsub = connected(context, SocketType::Xsub, &address);
        send(&xsub, &["\u{1}a"]);
        assert_eq!(recv(&xpub), ["\u{1}a"]);
        send(&xpub, &["abc"]);
        assert_eq!(recv(&xsub), ["abc"]);
        xsub.close();
        xpub.close();
    });
}

#[test]
fn message_can_be_sent_and_received_in_parts() {
    over_each_transport(|context, endpoint| {
        let (a, address) = bound(context, SocketType::Pair, endpoint);
        let b = connected(context, SocketType::Pair, &address);
        a.recv_until(soon()).unwrap_err();
        b.send_part_until(Frame::from("one"), true, deadline())
            .unwrap();
        assert_eq!(a.try_recv().unwrap_err().errno(), Errno::AGAIN);
        b.send_part_until(Frame::from("two"), false, deadline())
            .unwrap();
        let more = |socket: &Socket| socket.option(RCVMORE).unwrap();
        assert_eq!(
            a.recv_part_until(deadline()).unwrap(),
            (Frame::from("one"), true)
        );
        assert_eq!(more(&a), OptionValue::Int(1));
        assert_eq!(a.try_recv_part().unwrap(), (Frame::from("two"), false));
        assert_eq!(more(&a), OptionValue::Int(0));
        a.close();
        b.close();
    });
}

#[test]
fn every_size_arrives_unchanged() {
    over_each_transport(|context, endpoint| {
        let (pull, address) = bound(context, SocketType::Pull, endpoint);
        let push = connected(context, SocketType::Push, &address);
        let sizes = [
            0, 1, 63, 64, 65, 255, 256, 8191, 8192, 65_535, 65_536, 1_000_000, 10_485_760,
        ];
        for size in sizes {
            let payload: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
            let frames = vec![
                Frame::from(payload.clone()),
                Frame::empty(),
                Frame::from(payload.clone()),
            ];
            push.send_until(Message::from_frames(frames.clone()), deadline())
                .unwrap();
            let received = pull.recv_until(deadline()).unwrap();
            assert!(received.into_frames() == frames, "size {size}");
        }
        push.close();
        pull.close();
    });
}

#[test]
fn connect_may_come_before_bind() {
    over_each_transport(|context, endpoint| {
        // A first bind finds an address that is free, for the real one later.
        let directory = std::env::temp_dir().join(format!("mqcore-test-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = format!("ipc://{}/early", directory.display());
        let endpoint = if endpoint.starts_with("ipc") {
            &path
        } else {
            endpoint
        };
        let (first, address) = bound(context, SocketType::Pull, endpoint);
        first.unbind(&address).unwrap();
        first.close();
        let push = connected(context, SocketType::Push, &address);
        send(&push, &["early"]);
        let pull = socket(context, SocketType::Pull);
        pull.bind(&address).unwrap();
        assert_eq!(recv(&pull), ["early"]);
        push.close();
        pull.close();
        std::fs::remove_dir_all(directory).unwrap();
    });
}

#[test]
fn push_without_a_peer_refuses_and_with_a_full_one_too() {
    over_each_transport(|context, endpoint| {
        let push = socket(context, SocketType::Push);
        set_int(&push, SNDHWM, 5);
        set_int(&push, LINGER, 0);
        push.bind(endpoint).unwrap();
        assert_eq!(refused(&push, &["nobody"]), Errno::AGAIN);
        let pull = socket(context, SocketType::Pull);
        set_int(&pull, RCVHWM, 5);
        pull.connect(&last_endpoint(&push)).unwrap();
        let big = "x".repeat(1_000_000);
        let mut sent = 0;
        let a_while = || Some(Instant::now() + Duration::from_millis(500));
        while push.send_until(message(&[&big]), a_while()).is_ok() {
            sent += 1;
            assert!(sent < 1000, "the high-water mark has no effect");
        }
        // Both marks, less what a writer that sleeps until its pipe is half empty may leave unused.
        assert!(sent >= 7, "{sent} were taken");
        for _ in 0..sent {
            assert_eq!(recv(&pull)[0].len(), 1_000_000);
        }
        send(&push, &["there is room again"]);
        push.close();
        pull.close();
    });
}

#[test]
fn closing_wakes_a_waiting_receiver_of_another_thread() {
    over_each_transport(|context, endpoint| {
        let (pull, _) = bound(context, SocketType::Pull, endpoint);
        let waiting = pull.clone();
        let thread = std::thread::spawn(move || waiting.recv_until(deadline()));
        assert_eq!(pull.try_recv().unwrap_err().errno(), Errno::AGAIN);
        pull.close();
        let error = thread.join().unwrap().unwrap_err();
        assert_eq!(error.errno(), Errno::NOTSOCK);
    });
}

#[test]
fn term_wakes_waiting_calls_and_waits_for_the_close() {
    over_each_transport(|context, endpoint| {
        let (pull, _) = bound(context, SocketType::Pull, endpoint);
        let waiting = pull.clone();
        let thread = std::thread::spawn(move || waiting.recv_until(deadline()));
        let error = context.term(soon()).unwrap_err();
        assert_eq!(error.errno(), Errno::AGAIN);
        assert!(error.to_string().contains("PULL"), "{error}");
        assert_eq!(thread.join().unwrap().unwrap_err().errno(), Errno::TERM);
        assert_eq!(pull.try_recv().unwrap_err().errno(), Errno::TERM);
        pull.close();
    });
}

#[test]
fn what_was_sent_before_the_close_arrives() {
    over_each_transport(|context, endpoint| {
        let pull = socket(context, SocketType::Pull);
        set_int(&pull, RCVHWM, 10);
        pull.bind(endpoint).unwrap();
        let address = last_endpoint(&pull);
        let count = 3_000;
        let sender = {
            let context = context.clone();
            std::thread::spawn(move || {
                let push = connected(&context, SocketType::Push, &address);
                for number in 0..count {
                    send(&push, &[&number.to_string()]);
                }
                push.close();
            })
        };
        for number in 0..count {
            assert_eq!(recv(&pull), [number.to_string()]);
        }
        sender.join().unwrap();
        pull.close();
    });
}

#[test]
fn closed_socket_with_nothing_to_send_does_not_wait_for_a_silent_server() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let context = Context::new();
    let push = socket(&context, SocketType::Push);
    push.connect(&format!("tcp://{}", server.local_addr().unwrap()))
        .unwrap();
    let (_silent, _) = server.accept().unwrap();
    push.close();
    context
        .term(deadline())
        .expect("the handshake's 30 seconds are not waited for");
}

/// The payload of a long message, which says its number.
fn long(number: usize) -> Vec<u8> {
    let mut payload = vec![number as u8; 60_000 + number * 977 % 70_000];
    payload[..8].copy_from_slice(&number.to_le_bytes());
    payload
}

fn send_long(socket: &Socket, number: usize) {
    let message = Message::from(&long(number)[..]);
    socket.send_until(message, deadline()).unwrap();
}

fn receive_long(socket: &Socket, number: usize) {
    let message = socket.recv_until(deadline()).unwrap();
    assert!(message.first() == long(number), "{number} was changed");
}

#[test]
fn long_messages_wait_for_a_reader_and_not_for_one_that_does_not_read() {
    over_each_transport(|context, endpoint| {
        for (sends, receives) in [
            (SocketType::Push, SocketType::Pull),
            (SocketType::Dealer, SocketType::Dealer),
            (SocketType::Pair, SocketType::Pair),
        ] {
            let (receiver, address) = bound(context, receives, endpoint);
            let sender = connected(context, sends, &address);
            // Nobody reads: the high-water mark alone decides.
            for number in 0..300 {
                send_long(&sender, number);
            }
            for number in 0..300 {
                receive_long(&receiver, number);
            }
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for number in 300..1500 {
                        send_long(&sender, number);
                    }
                });
                for number in 300..1500 {
                    receive_long(&receiver, number);
                }
            });
            sender.close();
            receiver.close();
        }
    });
}

#[test]
fn sender_of_long_messages_hears_that_its_peer_is_behind() {
    let context = Context::new();
    let (pull, address) = bound(&context, SocketType::Pull, "inproc://behind");
    let push = connected(&context, SocketType::Push, &address);
    let mut sent = 0;
    while !push.is_laden() {
        push.try_send(Message::from(&long(sent)[..])).unwrap();
        sent += 1;
        assert!(sent < 20, "a megabyte is much");
    }
    push.pace(Some(Instant::now()));
    assert!(!push.is_laden(), "it was waited for");
    push.try_send(Message::from(&long(sent)[..])).unwrap();
    assert!(
        !push.is_laden(),
        "did not move, and is not waited for again"
    );
    for number in 0..=sent {
        receive_long(&pull, number);
    }
    push.close();
    pull.close();
    context.term(deadline()).unwrap();
}

/// Memory for a payload, as an application might have it.
struct Shelf {
    memory: Vec<u8>,
    filled: usize,
}

impl AsRef<[u8]> for Shelf {
    fn as_ref(&self) -> &[u8] {
        &self.memory
    }
}

impl Vessel for Shelf {
    fn capacity(&self) -> usize {
        self.memory.len()
    }

    fn filled(&self) -> usize {
        self.filled
    }

    fn fill(&mut self, read: &mut ReadInto<'_>) -> std::io::Result<usize> {
        let mut rest = vec![MaybeUninit::uninit(); self.memory.len() - self.filled];
        let read = read(&mut rest)?;
        self.memory[self.filled..][..read.len()].copy_from_slice(read);
        self.filled += read.len();
        Ok(read.len())
    }

    fn into_frame(self: Box<Self>) -> Option<Frame> {
        (self.filled == self.memory.len()).then(|| Frame::from_owner(*self))
    }
}

#[test]
fn long_answer_is_read_into_the_callers_memory_if_it_fits() {
    const ROUNDS: usize = 200;
    over_each_transport(|context, endpoint| {
        let (server, address) = bound(context, SocketType::Rep, endpoint);
        let client = connected(context, SocketType::Req, &address);
        let mut shelved = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..ROUNDS {
                    server.recv_until(deadline()).unwrap();
                    send_long(&server, number);
                }
            });
            for number in 0..ROUNDS {
                send(&client, &["next"]);
                let wrong = usize::from(number % 3 == 2);
                let memory = vec![0; long(number).len() + wrong];
                let mut shelf: Option<Box<dyn Vessel>> =
                    Some(Box::new(Shelf { memory, filled: 0 }));
                let received = client.recv_part_into_until(deadline(), &mut shelf);
                let (frame, more) = received.unwrap();
                assert!(!more && *frame == long(number), "{number} was changed");
                let is_shelf = frame.owner().is_some_and(|owner| owner.is::<Shelf>());
                assert_ne!(is_shelf, shelf.is_some(), "what was not used comes back");
                assert!(!is_shelf || wrong == 0);
                shelved += usize::from(is_shelf);
            }
        });
        let by_network = address.starts_with("tcp") || address.starts_with("ipc");
        assert_eq!(shelved > 0, by_network, "over {address}");
        client.close();
        server.close();
    });
}
