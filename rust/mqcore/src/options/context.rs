//! Context options: set by number before the first socket; later changes reach later sockets only.

use super::threads::ThreadOptions;
use crate::error::{Errno, Error, Result};

const IO_THREADS: i32 = 1;
const MAX_SOCKETS: i32 = 2;
/// Reading number 3 gives SOCKET_LIMIT, setting it sets THREAD_PRIORITY.
const SOCKET_LIMIT: i32 = 3;
const THREAD_SCHED_POLICY: i32 = 4;
const MAX_MSGSZ: i32 = 5;
const MSG_T_SIZE: i32 = 6;
const THREAD_AFFINITY_CPU_ADD: i32 = 7;
const THREAD_AFFINITY_CPU_REMOVE: i32 = 8;
const THREAD_NAME_PREFIX: i32 = 9;
const ZERO_COPY_RECV: i32 = 10;
const IPV6: i32 = 42;
const BLOCKY: i32 = 70;

/// More I/O threads than that are a mistake, not a wish.
const MOST_IO_THREADS: i32 = 1024;
const MOST_SOCKETS: i32 = 65_535;

/// The options of a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextOptions {
    /// IO_THREADS: 0 leaves inproc only.
    pub io_threads: usize,
    /// MAX_SOCKETS: sockets at the same time.
    pub max_sockets: usize,
    /// MAX_MSGSZ: stored for whoever asks; sockets have MAXMSGSIZE.
    pub max_msgsz: i32,
    /// The other THREAD_ options but for the name.
    pub threads: ThreadOptions,
    /// THREAD_NAME_PREFIX: put before the names of the threads, if it was set.
    pub thread_name_prefix: Option<i32>,
    /// ZERO_COPY_RECV: received messages may share the receive buffer. They never do: each has memory of its own.
    pub zero_copy_recv: bool,
    /// IPV6 of new sockets.
    pub ipv6: bool,
    /// BLOCKY: whether new sockets linger for ever.
    pub blocky: bool,
}

impl Default for ContextOptions {
    fn default() -> Self {
        Self {
            io_threads: 1,
            max_sockets: 1023,
            max_msgsz: i32::MAX,
            threads: ThreadOptions::default(),
            thread_name_prefix: None,
            zero_copy_recv: true,
            ipv6: false,
            blocky: true,
        }
    }
}

impl ContextOptions {
    /// Sets option number `option`. EINVAL: unknown, read-only or out of range.
    pub fn set(&mut self, option: i32, value: i32) -> Result<()> {
        match option {
            IO_THREADS => {
                self.io_threads = within("IO_THREADS", value, 0, MOST_IO_THREADS)? as usize;
            }
            MAX_SOCKETS => {
                self.max_sockets = within("MAX_SOCKETS", value, 1, MOST_SOCKETS)? as usize;
            }
            SOCKET_LIMIT => {
                self.threads.priority = Some(within("THREAD_PRIORITY", value, 0, i32::MAX)?);
            }
            THREAD_SCHED_POLICY => {
                ThreadOptions::check_policy(value)?;
                self.threads.policy = Some(value);
            }
            MAX_MSGSZ => self.max_msgsz = within("MAX_MSGSZ", value, 0, i32::MAX)?,
            MSG_T_SIZE => return Err(invalid("MSG_T_SIZE is read-only".into())),
            THREAD_AFFINITY_CPU_ADD => {
                let last = nix::sched::CpuSet::count() as i32 - 1;
                let cpu = within("THREAD_AFFINITY_CPU_ADD", value, 0, last)?;
                self.threads.cpus.insert(cpu as usize);
            }
            THREAD_AFFINITY_CPU_REMOVE => {
                let cpu = within("THREAD_AFFINITY_CPU_REMOVE", value, 0, i32::MAX)?;
                if !self.threads.cpus.remove(&(cpu as usize)) {
                    return Err(invalid(format!(
                        "THREAD_AFFINITY_CPU_REMOVE: processor {cpu} was not added before"
                    )));
                }
            }
            THREAD_NAME_PREFIX => {
                self.thread_name_prefix = Some(within("THREAD_NAME_PREFIX", value, 0, i32::MAX)?);
            }
            ZERO_COPY_RECV => self.zero_copy_recv = truth("ZERO_COPY_RECV", value)?,
            IPV6 => self.ipv6 = truth("IPV6", value)?,
            BLOCKY => self.blocky = truth("BLOCKY", value)?,
            _ => return Err(unknown(option)),
        }
        Ok(())
    }

    /// Reads option number `option`. EINVAL: unknown or write-only.
    pub fn get(&self, option: i32) -> Result<i32> {
        // Every stored number came from an i32.
        Ok(match option {
            IO_THREADS => self.io_threads as i32,
            MAX_SOCKETS => self.max_sockets as i32,
            SOCKET_LIMIT => MOST_SOCKETS,
            MAX_MSGSZ => self.max_msgsz,
            MSG_T_SIZE => 64,
            THREAD_NAME_PREFIX => self.thread_name_prefix.unwrap_or(0),
            ZERO_COPY_RECV => self.zero_copy_recv.into(),
            IPV6 => self.ipv6.into(),
            BLOCKY => self.blocky.into(),
            THREAD_SCHED_POLICY => self.threads.policy.unwrap_or(-1), // the application's own
            THREAD_AFFINITY_CPU_ADD | THREAD_AFFINITY_CPU_REMOVE => {
                return Err(invalid(format!(
                    "context option {option} can be set but not read back"
                )));
            }
            _ => return Err(unknown(option)),
        })
    }

    /// The name of I/O thread number `index`: at most 15 bytes, as the kernel wants it.
    pub fn io_thread_name(&self, index: usize) -> String {
        let mut name = match self.thread_name_prefix {
            Some(prefix) => format!("{prefix}/mqcore-{index}"),
            None => format!("mqcore-{index}"),
        };
        name.truncate(15); // ASCII throughout
        name
    }
}

fn invalid(detail: String) -> Error {
    Error::new(Errno::INVAL, detail)
}

fn unknown(option: i32) -> Error {
    invalid(format!("there is no context option {option}"))
}

fn within(name: &str, value: i32, low: i32, high: i32) -> Result<i32> {
    if (low..=high).contains(&value) {
        return Ok(value);
    }
    Err(invalid(if high == i32::MAX {
        format!("{name} cannot be {value}: it is an integer from {low}")
    } else {
        format!("{name} cannot be {value}: it is an integer from {low} to {high}")
    }))
}

/// Any positive number is true.
fn truth(name: &str, value: i32) -> Result<bool> {
    Ok(within(name, value, 0, i32::MAX)? != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_reference() {
        let options = ContextOptions::default();
        for (option, value) in [
            (IO_THREADS, 1),
            (MAX_SOCKETS, 1023),
            (SOCKET_LIMIT, 65_535),
            (MAX_MSGSZ, i32::MAX),
            (MSG_T_SIZE, 64),
            (THREAD_NAME_PREFIX, 0),
            (ZERO_COPY_RECV, 1),
            (IPV6, 0),
            (BLOCKY, 1),
        ] {
            assert_eq!(
                options.get(option).unwrap(),
                value,
                "context option {option}"
            );
        }
    }

    #[test]
    fn set_values_read_back() {
        let mut options = ContextOptions::default();
        for (option, value, read) in [
            (IO_THREADS, 0, 0),
            (IO_THREADS, 4, 4),
            (MAX_SOCKETS, 65_535, 65_535),
            (MAX_MSGSZ, 0, 0),
            (THREAD_NAME_PREFIX, 1234, 1234),
            (ZERO_COPY_RECV, 0, 0),
            (IPV6, 7, 1),
            (BLOCKY, 0, 0),
        ] {
            options.set(option, value).unwrap();
            assert_eq!(
                options.get(option).unwrap(),
                read,
                "context option {option}"
            );
        }
        assert_eq!(options.io_thread_name(0), "1234/mqcore-0");
    }

    #[test]
    fn bad_values_are_refused_with_a_sentence_and_change_nothing() {
        let mut options = ContextOptions::default();
        for (option, value) in [
            (IO_THREADS, -1),
            (IO_THREADS, 1025),
            (MAX_SOCKETS, 0),
            (MAX_SOCKETS, 65_536),
            (SOCKET_LIMIT, -1),
            (THREAD_SCHED_POLICY, -1),
            (THREAD_SCHED_POLICY, 4),
            (MAX_MSGSZ, -1),
            (MSG_T_SIZE, 64),
            (THREAD_AFFINITY_CPU_ADD, -1),
            (THREAD_AFFINITY_CPU_ADD, i32::MAX),
            (THREAD_AFFINITY_CPU_REMOVE, 0),
            (BLOCKY, -1),
            (0, 1),
            (-1, 1),
            (11, 1),
        ] {
            let error = options.set(option, value).unwrap_err();
            assert_eq!(error.errno(), Errno::INVAL, "context option {option}");
            assert!(error.detail().is_some());
        }
        assert_eq!(options, ContextOptions::default());
        for option in [THREAD_AFFINITY_CPU_ADD, THREAD_AFFINITY_CPU_REMOVE, 0, 11] {
            assert_eq!(options.get(option).unwrap_err().errno(), Errno::INVAL);
        }
    }
}
