//! The options' rules, by example and against the table.

use super::*;
use SocketType::*;

const EINVAL: i32 = Errno::INVAL.0;
const ENOTSUP: i32 = Errno::NOTSUP.0;

fn options(kind: SocketType) -> SocketOptions {
    SocketOptions::new(kind, true, false)
}

fn number(value: i64) -> OptionValue {
    OptionValue::Int(value)
}

fn bytes(value: &[u8]) -> OptionValue {
    OptionValue::Bytes(value.to_vec())
}

#[track_caller]
fn refused(kind: SocketType, option: i32, value: &OptionValue) -> Error {
    let mut options = options(kind);
    let before = format!("{options:?}");
    let error = options.set(kind, option, value).unwrap_err();
    assert!(error.detail().is_some(), "no sentence: {error}");
    assert_eq!(
        before,
        format!("{options:?}"),
        "a refused value changed something"
    );
    error
}

#[test]
fn every_integer_option_reads_back_what_was_set() {
    for row in table::ROWS {
        let (Home::Int(..), Values::Int(low, high)) = (&row.home, &row.values) else {
            continue;
        };
        for value in [*low, (*low).max(0) + 1, *high] {
            for kind in SocketType::ALL
                .into_iter()
                .filter(|kind| row.types.contains(*kind))
            {
                let mut options = options(kind);
                options.set(kind, row.number, &number(value)).unwrap();
                let expected = match row.number {
                    22 => value.max(-1),         // MAXMSGSIZE: any negative is "unlimited"
                    74 => i64::from(value != 0), // INVERT_MATCHING: any int is a truth value
                    76 => value / 100 * 100,     // HEARTBEAT_TTL: tenths of a second
                    _ => value,
                };
                assert_eq!(
                    options.get(kind, row.number).unwrap(),
                    Reading::Value(number(expected)),
                    "{} = {value}",
                    row.name
                );
            }
        }
    }
}

#[test]
fn integers_just_out_of_range_are_refused_for_every_option() {
    for row in table::ROWS {
        let Values::Int(low, high) = row.values else {
            continue;
        };
        if matches!(row.home, Home::Live(_) | Home::Refused(_)) {
            continue;
        }
        let kind = SocketType::ALL
            .into_iter()
            .find(|kind| row.types.contains(*kind))
            .unwrap();
        for value in [low.checked_sub(1), high.checked_add(1)]
            .into_iter()
            .flatten()
        {
            assert_eq!(
                refused(kind, row.number, &number(value)).errno(),
                Errno::INVAL
            );
        }
    }
}

#[test]
fn value_of_the_other_type_is_refused_for_every_option() {
    for row in table::ROWS {
        for kind in SocketType::ALL
            .into_iter()
            .filter(|kind| row.types.contains(*kind))
        {
            let value = if row.values.is_int() {
                bytes(b"1")
            } else {
                number(1)
            };
            assert_eq!(
                refused(kind, row.number, &value).errno(),
                Errno::INVAL,
                "{}",
                row.name
            );
        }
    }
}

#[test]
fn rows_are_whole() {
    for row in table::ROWS {
        let int = !matches!(row.kind, OptionKind::Bytes);
        assert_eq!(int, row.values.is_int(), "{}", row.name);
        let home = match row.home {
            Home::Int(..) | Home::IntWrite(_) => Some(true),
            Home::Later(Later::Int(_) | Later::IntWrite(_), _) => Some(true),
            Home::Bytes(..) | Home::BytesWrite(_) | Home::Later(..) => Some(false),
            Home::Live(_) | Home::Refused(_) => None,
        };
        assert!(home.is_none_or(|home| home == int), "{}", row.name);
        assert_eq!(
            table::row(row.number).unwrap().name,
            row.name,
            "twice in the table"
        );
    }
    assert_eq!(kind_of(22), Some(OptionKind::Int64));
    assert_eq!(kind_of(14), Some(OptionKind::Fd));
    assert_eq!(kind_of(5), Some(OptionKind::Bytes));
    assert_eq!(kind_of(10), None);
    assert_eq!(kind_of(-1), None);
    assert_eq!(kind_of(i32::MAX), None);
}

#[test]
fn defaults_are_those_of_the_reference() {
    for (option, value) in [
        (4, 0),
        (8, 100),
        (9, 10_000),
        (11, -1),
        (12, -1),
        (17, -1),
        (18, 100),
        (19, 100),
        (21, 0),
        (22, -1),
        (23, 1000),
        (24, 1000),
        (25, 1),
        (27, -1),
        (28, -1),
        (31, 1),
        (34, -1),
        (35, -1),
        (36, -1),
        (37, -1),
        (39, 0),
        (42, 0),
        (44, 0),
        (47, 0),
        (54, 0),
        (57, 0),
        (66, 30_000),
        (74, 0),
        (75, 0),
        (76, 0),
        (77, -1),
        (79, 0),
        (80, 0),
        (84, 1500),
        (89, -1),
        (93, 0),
        (94, 0),
        (96, 1),
        (101, 8192),
        (102, 8192),
        (109, 0),
        (112, 0),
        (117, 1),
        (119, 2048),
        (120, 1400),
        (121, 16),
        (122, 4),
    ] {
        for kind in [Pair, Router, Pub, Stream] {
            assert_eq!(
                options(kind).get(kind, option).unwrap(),
                Reading::Value(number(value)),
                "option {option}"
            );
        }
    }
    for option in [5, 45, 46, 55, 68, 92, 99, 100] {
        assert_eq!(
            options(Req).get(Req, option).unwrap(),
            Reading::Value(bytes(b""))
        );
    }
}

#[test]
fn subscribers_and_sockets_of_a_context_that_never_blocks_do_not_linger() {
    assert_eq!(options(Sub).linger, Some(Duration::ZERO));
    assert_eq!(options(Xsub).linger, Some(Duration::ZERO));
    assert_eq!(options(Pub).linger, None);
    assert_eq!(
        SocketOptions::new(Pub, false, false).linger,
        Some(Duration::ZERO)
    );
    assert!(SocketOptions::new(Pub, true, true).ipv6);
}

/// What the reference accepts of 0, 1, -1 and 100 (or of b"" and b"abc"), by type, as far as mqcore
/// keeps it. `None`: refused.
#[test]
fn accepted_values_by_type_are_those_of_the_reference() {
    let tried = [0, 1, -1, 100];
    let everywhere: &[(i32, [bool; 4])] = &[
        (17, [true; 4]),
        (18, [true; 4]),
        (27, [true; 4]),
        (28, [true; 4]),
        (11, [true; 4]),
        (12, [true; 4]),
        (35, [true; 4]),
        (36, [true; 4]),
        (37, [true; 4]),
        (74, [true; 4]),
        (89, [true; 4]),
        (58, [true; 4]),
        (59, [true; 4]),
        (60, [true; 4]),
        (76, [true; 4]),
        (19, [true, true, false, true]),
        (21, [true, true, false, true]),
        (23, [true, true, false, true]),
        (24, [true, true, false, true]),
        (66, [true, true, false, true]),
        (75, [true, true, false, true]),
        (77, [true, true, false, true]),
        (79, [true, true, false, true]),
        (80, [true, true, false, true]),
        (57, [true, true, false, true]),
        (34, [true, true, true, false]),
        (39, [true, true, false, false]),
        (42, [true, true, false, false]),
        (31, [true, true, false, false]),
        (54, [true, true, false, false]),
        (1, [false; 4]),
        (13, [false; 4]),
        (15, [false; 4]),
        (16, [false; 4]),
        (43, [false; 4]),
        (70, [false; 4]),
        (81, [false; 4]),
    ];
    for kind in SocketType::ALL {
        for (option, accepted) in everywhere {
            for (value, accepted) in tried.into_iter().zip(accepted) {
                let result = options(kind).set(kind, *option, &number(value));
                assert_eq!(
                    result.is_ok(),
                    *accepted,
                    "{kind:?} {option} {value}: {result:?}"
                );
            }
        }
        let only: &[(i32, &[SocketType])] = &[
            (33, &[Router]),
            (56, &[Router]),
            (51, &[Req, Dealer, Router]),
            (52, &[Req]),
            (53, &[Req]),
            (40, &[Xpub]),
            (78, &[Xpub]),
            (69, &[Xpub, Pub]),
            (41, &[Router]),
            (71, &[Xpub]),
            (98, &[Xpub]),
            (108, &[Xpub, Xsub]),
            (115, &[Xsub]),
            (73, &[Stream]),
        ];
        for (option, kinds) in only {
            for (value, in_range) in [(0, true), (1, true), (-1, false), (100, *option != 73)] {
                let result = options(kind).set(kind, *option, &number(value));
                let accepted = in_range && kinds.contains(&kind);
                assert_eq!(
                    result.is_ok(),
                    accepted,
                    "{kind:?} {option} {value}: {result:?}"
                );
            }
            assert_eq!(
                options(kind).get(kind, *option).unwrap_err().errno().0,
                EINVAL
            );
        }
        let texts: &[(i32, &[SocketType], bool)] = &[
            (5, &SocketType::ALL, false),
            (6, &[Sub, Xpub], true), // XPUB: in manual mode, which the socket checks
            (7, &[Sub, Xpub], true),
            (72, &[Xpub], true),
            (110, &[Dealer, Router], true),
            (111, &[Router], true),
            (114, &[Dealer], true),
            (61, &[Router, Stream], false),
            (92, &SocketType::ALL, false),
        ];
        for (option, kinds, empty) in texts {
            for (value, accepted) in [(&b""[..], *empty), (b"abc", true)] {
                let result = options(kind).set(kind, *option, &bytes(value));
                let accepted = accepted && kinds.contains(&kind);
                assert_eq!(
                    result.is_ok(),
                    accepted,
                    "{kind:?} {option} {value:?}: {result:?}"
                );
            }
        }
    }
}

#[test]
fn what_mqcore_does_not_have_yet_is_refused_with_a_sentence_and_its_default_is_not() {
    for (option, default, other) in [
        (8, 100, 101),
        (44, 0, 1),
        (47, 0, 1),
        (96, 1, 0),
        (93, 0, 1),
        (124, 0, 1),
    ] {
        assert_eq!(
            options(Pair).set(Pair, option, &number(default)),
            Ok(Change::Stored)
        );
        let error = refused(Pair, option, &number(other));
        assert_eq!(error.errno().0, ENOTSUP);
        assert!(
            error.detail().unwrap().contains("mqcore does not have"),
            "{error}"
        );
    }
    assert_eq!(refused(Pair, 45, &bytes(b"user")).errno().0, ENOTSUP);
    assert_eq!(refused(Pair, 45, &bytes(b"")).errno().0, EINVAL);
    assert_eq!(refused(Pair, 48, &bytes(&[7; 32])).errno().0, ENOTSUP);
    assert_eq!(refused(Pair, 48, &bytes(&[7; 31])).errno().0, EINVAL);
}

#[test]
fn secret_never_appears_in_the_refusal() {
    let error = refused(Pair, 46, &bytes(b"hunter2"));
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn sentences_say_what_would_be_right() {
    for (kind, option, value, sentence) in [
        (
            Push,
            23,
            number(-1),
            "SNDHWM cannot be -1: it is an integer from 0 (32 bits)",
        ),
        (Push, 39, number(2), "IMMEDIATE cannot be 2: it is 0 or 1"),
        (
            Push,
            33,
            number(1),
            "ROUTER_MANDATORY is an option of ROUTER, not of PUSH",
        ),
        (Push, 16, number(1), "TYPE is read-only"),
        (
            Push,
            5,
            number(1),
            "ROUTING_ID takes bytes, not the integer 1",
        ),
        (
            Push,
            23,
            bytes(b"ten"),
            "SNDHWM takes an integer, not 3 bytes",
        ),
        (
            Push,
            5,
            bytes(&[b'x'; 256]),
            "ROUTING_ID has 1 to 255 bytes, not 256",
        ),
        (Push, 9999, number(1), "there is no socket option 9999"),
    ] {
        let error = refused(kind, option, &value);
        assert_eq!((error.errno().0, error.detail()), (EINVAL, Some(sentence)));
    }
}

#[test]
fn routing_id_cannot_begin_with_the_byte_of_automatic_ids() {
    let error = refused(Dealer, 5, &bytes(b"\0abc"));
    assert!(error.detail().unwrap().contains("automatic"), "{error}");
}

#[test]
fn live_options_are_left_to_the_socket() {
    assert_eq!(
        options(Push).get(Push, 15).unwrap(),
        Reading::Live(Live::Events)
    );
    assert_eq!(
        options(Sub).get(Sub, 116).unwrap(),
        Reading::Live(Live::TopicsCount)
    );
    assert_eq!(
        options(Push).get(Push, 116).unwrap_err().errno(),
        Errno::INVAL
    );
}

#[test]
fn changes_say_what_the_socket_does_next() {
    let set = |kind, option, value: i64| options(kind).set(kind, option, &number(value)).unwrap();
    assert_eq!(set(Push, 23, 5), Change::Hwm);
    assert_eq!(set(Push, 17, 5), Change::Linger);
    assert_eq!(set(Push, 27, 5), Change::Timeouts);
    assert_eq!(set(Push, 19, 5), Change::Stored);
    assert_eq!(
        set(Router, 33, 100),
        Change::Pattern(PatternOption::RouterMandatory(true))
    );
    assert_eq!(
        options(Sub).set(Sub, 6, &bytes(b"news")).unwrap(),
        Change::Pattern(PatternOption::Subscribe(b"news".into()))
    );
}

#[test]
fn metadata_is_kept_by_name_and_checked() {
    let mut options = options(Push);
    for text in ["X-Job:one", "X-Hop:1:2", "X-job:two"] {
        options.set(Push, 95, &bytes(text.as_bytes())).unwrap();
    }
    let expected = [("X-job", &b"two"[..]), ("X-Hop", b"1:2")];
    for ((name, value), (expected_name, expected)) in options.metadata.iter().zip(expected) {
        assert_eq!((name.as_str(), value.as_slice()), (expected_name, expected));
    }
    for text in [
        "",
        "abc",
        "Job:one",
        "x-job:one",
        "X-:one",
        "X-Job:",
        "X-J b:one",
    ] {
        assert_eq!(
            refused(Push, 95, &bytes(text.as_bytes())).errno(),
            Errno::INVAL,
            "{text}"
        );
    }
}

#[test]
fn accept_filter_lets_in_its_network_only() {
    let inside = |network: &str, peer: &str| {
        Network::parse(network)
            .unwrap()
            .contains(peer.parse().unwrap())
    };
    assert!(inside("10.1.0.0/16", "10.1.200.3"));
    assert!(!inside("10.1.0.0/16", "10.2.0.1"));
    assert!(inside("10.1.0.0/16", "::ffff:10.1.2.3"));
    assert!(inside("0.0.0.0/0", "203.0.113.9"));
    assert!(!inside("0.0.0.0/0", "2001:db8::1"));
    assert!(inside("::/0", "203.0.113.9"));
    assert!(inside("2001:db8::/32", "2001:db8:1::1"));
    assert!(!inside("2001:db8::1", "2001:db8::2"));
    for wrong in [
        "",
        "abc",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/+8",
        "::1/129",
        "10.0.0.0/",
        "localhost",
    ] {
        assert_eq!(Network::parse(wrong), None, "{wrong}");
        assert_eq!(
            refused(Pull, 38, &bytes(wrong.as_bytes())).errno(),
            Errno::INVAL
        );
    }
}

#[test]
fn reconnect_interval_of_zero_never_reconnects() {
    let mut options = options(Push);
    assert_eq!(options.reconnect_delay(), Some(Duration::from_millis(100)));
    for value in [0, -1] {
        options.set(Push, 18, &number(value)).unwrap();
        assert_eq!(options.reconnect_delay(), None);
    }
}

#[test]
fn conflate_has_effect_on_five_types_only() {
    for kind in SocketType::ALL {
        let mut options = options(kind);
        options.set(kind, 54, &number(1)).unwrap();
        assert_eq!(
            options.conflates(kind),
            [Pull, Push, Sub, Pub, Dealer].contains(&kind)
        );
    }
}
