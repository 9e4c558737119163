//! Where and how the I/O threads run: processors, scheduling policy, priority.

use std::collections::BTreeSet;

use thread_priority::unix::{
    NormalThreadSchedulePolicy as Normal, RealtimeThreadSchedulePolicy as Realtime,
    ThreadSchedulePolicy as Policy, set_thread_priority_and_policy, thread_native_id,
};
use thread_priority::{ThreadPriority, ThreadPriorityValue};

use crate::error::{Errno, Error, Result};

/// How the I/O threads of a context run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadOptions {
    /// THREAD_AFFINITY_CPU_ADD and _REMOVE: processors; empty is all.
    pub cpus: BTreeSet<usize>,
    /// THREAD_SCHED_POLICY by its number in sched.h; `None` is what the application has.
    pub policy: Option<i32>,
    /// THREAD_PRIORITY: 1 to 99 with a real-time policy; none with SCHED_IDLE; else anything above 0 is the lowest nice
    /// value.
    pub priority: Option<i32>,
}

/// The policies that the system has, by their numbers in sched.h.
const POLICIES: [(i32, &str, Policy); 5] = [
    (0, "SCHED_OTHER", Policy::Normal(Normal::Other)),
    (1, "SCHED_FIFO", Policy::Realtime(Realtime::Fifo)),
    (2, "SCHED_RR", Policy::Realtime(Realtime::RoundRobin)),
    (3, "SCHED_BATCH", Policy::Normal(Normal::Batch)),
    (5, "SCHED_IDLE", Policy::Normal(Normal::Idle)),
];

/// The nice value of a thread with a THREAD_PRIORITY but no real-time policy.
const NICEST: i32 = -20;

impl ThreadOptions {
    /// EINVAL, with those there are, if the system has no policy of that number.
    pub fn check_policy(number: i32) -> Result<()> {
        if POLICIES.iter().any(|(known, ..)| *known == number) {
            return Ok(());
        }
        let known: Vec<String> = POLICIES
            .iter()
            .map(|(number, name, _)| format!("{number} ({name})"))
            .collect();
        Err(Error::new(
            Errno::INVAL,
            format!(
                "THREAD_SCHED_POLICY cannot be {number}: it is one of {}",
                known.join(", ")
            ),
        ))
    }

    /// Whether threads run as the application's own do.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Makes the calling thread run so: for an I/O thread, at its start.
    ///
    /// # Errors
    /// EINVAL when the machine has none of the processors, or the priority is not one of the policy; EPERM
    /// when the process may not have the policy or priority.
    pub fn settle_current_thread(&self) -> Result<()> {
        self.pin()?;
        self.schedule()
    }

    fn pin(&self) -> Result<()> {
        if self.cpus.is_empty() {
            return Ok(());
        }
        let refused = |error: nix::errno::Errno| {
            Error::new(
                Errno(error as i32),
                format!(
                    "the I/O thread cannot be kept on the processors {:?} (THREAD_AFFINITY_CPU_ADD)",
                    self.cpus
                ),
            )
        };
        let mut set = nix::sched::CpuSet::new();
        for cpu in &self.cpus {
            set.set(*cpu).map_err(refused)?;
        }
        nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set).map_err(refused)
    }

    fn schedule(&self) -> Result<()> {
        if self.policy.is_none() && self.priority.is_none() {
            return Ok(());
        }
        // A thread that was told nothing runs under SCHED_OTHER or what its process was started with.
        let policy = match self.policy {
            Some(number) => POLICIES.iter().find(|(known, ..)| *known == number),
            None => thread_priority::unix::thread_schedule_policy()
                .ok()
                .and_then(|own| POLICIES.iter().find(|(_, _, policy)| *policy == own)),
        };
        let (_, name, policy) = policy.unwrap_or(&POLICIES[0]);
        let priority = match (policy, self.priority) {
            (Policy::Realtime(_), None | Some(0)) => Some(1), // the lowest there is
            (Policy::Realtime(_), given) => given,
            (Policy::Normal(_), Some(1..)) => Some(NICEST),
            (Policy::Normal(_), _) => None,
        };
        let refused = |errno: Errno| {
            let wanted = priority.map_or_else(String::new, |priority| match policy {
                Policy::Realtime(_) => format!(" and priority {priority}"),
                Policy::Normal(_) => format!(" and nice value {priority}"),
            });
            Error::new(
                errno,
                format!(
                    "the I/O thread cannot run under {name}{wanted} (THREAD_SCHED_POLICY, THREAD_PRIORITY)"
                ),
            )
        };
        let nice = rustix::process::getpriority_process(None).unwrap_or(0);
        if *policy == Policy::Normal(Normal::Idle) {
            if let Some(1..) = self.priority {
                return Err(Error::new(
                    Errno::INVAL,
                    "SCHED_IDLE is below every priority: leave THREAD_PRIORITY at 0 or choose another THREAD_SCHED_POLICY",
                ));
            }
            return settle_idle(nice).map_err(refused);
        }
        let wanted = priority.unwrap_or(nice); // none given: the one that it has already
        let value = priority_of(wanted, *policy).ok_or_else(|| refused(Errno::INVAL))?;
        set_thread_priority_and_policy(thread_native_id(), value, *policy).map_err(|error| {
            refused(match error {
                thread_priority::Error::OS(number) => Errno(number),
                _ => Errno::INVAL,
            })
        })
    }
}

/// Makes the calling thread run under SCHED_IDLE, where its nice value means nothing; it is kept all the same.
fn settle_idle(nice: i32) -> std::result::Result<(), Errno> {
    let idle = Policy::Normal(Normal::Idle);
    // The library also asks for the nice value 0, after the policy; a niced process is refused that.
    let outcome = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
    let _ = rustix::process::setpriority_process(None, nice);
    match outcome {
        Err(thread_priority::Error::OS(number))
            if thread_priority::unix::thread_schedule_policy().ok() != Some(idle) =>
        {
            Err(Errno(number))
        }
        _ => Ok(()),
    }
}

/// The library's name for the system's priority, or nice value, `wanted`; `None` if the policy has none such.
fn priority_of(wanted: i32, policy: Policy) -> Option<ThreadPriority> {
    (0..=u8::MAX)
        .map_while(|value| ThreadPriorityValue::try_from(value).ok())
        .map(ThreadPriority::Crossplatform)
        .chain([ThreadPriority::Min, ThreadPriority::Max])
        .find(|value| value.to_posix(policy).is_ok_and(|system| system == wanted))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Runs in a thread of its own, which may be changed for good.
    fn apart<R: Send + 'static>(check: impl FnOnce() -> R + Send + 'static) -> R {
        std::thread::spawn(check).join().unwrap()
    }

    #[test]
    fn thread_stays_on_the_processors_that_were_added() {
        apart(|| {
            let own = nix::unistd::Pid::from_raw(0);
            let allowed = nix::sched::sched_getaffinity(own).unwrap();
            let cpu = (0..nix::sched::CpuSet::count())
                .find(|cpu| allowed.is_set(*cpu).unwrap())
                .unwrap();
            let options = ThreadOptions {
                cpus: [cpu].into(),
                ..ThreadOptions::default()
            };
            options.settle_current_thread().unwrap();
            let now = nix::sched::sched_getaffinity(own).unwrap();
            for other in 0..nix::sched::CpuSet::count() {
                assert_eq!(now.is_set(other).unwrap(), other == cpu);
            }
        });
    }

    #[test]
    fn processors_that_the_machine_does_not_have_are_refused() {
        apart(|| {
            let options = ThreadOptions {
                cpus: [nix::sched::CpuSet::count() - 1].into(),
                ..ThreadOptions::default()
            };
            let error = options.settle_current_thread().unwrap_err();
            assert_eq!(error.errno(), Errno::INVAL);
        });
    }

    #[test]
    fn policy_without_privileges_is_taken_and_keeps_the_nice_value() {
        apart(|| {
            let nice = rustix::process::getpriority_process(None).unwrap();
            let options = ThreadOptions {
                policy: Some(3),
                ..ThreadOptions::default()
            };
            options.settle_current_thread().unwrap();
            let now = thread_priority::unix::thread_schedule_policy().unwrap();
            assert_eq!(now, Policy::Normal(Normal::Batch));
            assert_eq!(rustix::process::getpriority_process(None).unwrap(), nice);
        });
    }

    #[test]
    fn idle_policy_is_taken_in_a_niced_process_too_and_has_no_priority() {
        apart(|| {
            let nice = rustix::process::getpriority_process(None).unwrap() + 3;
            rustix::process::setpriority_process(None, nice).unwrap();
            let mut options = ThreadOptions {
                policy: Some(5),
                ..ThreadOptions::default()
            };
            options.settle_current_thread().unwrap();
            let now = thread_priority::unix::thread_schedule_policy().unwrap();
            assert_eq!(now, Policy::Normal(Normal::Idle));
            assert_eq!(rustix::process::getpriority_process(None).unwrap(), nice);
            options.priority = Some(1);
            let error = options.settle_current_thread().unwrap_err();
            assert_eq!(error.errno(), Errno::INVAL);
        });
    }

    #[test]
    fn realtime_priority_is_taken_or_refused_by_the_system_but_never_ignored() {
        apart(|| {
            let options = ThreadOptions {
                policy: Some(2),
                priority: Some(3),
                ..ThreadOptions::default()
            };
            match options.settle_current_thread() {
                Ok(()) => {
                    let now = thread_priority::unix::thread_schedule_policy().unwrap();
                    assert_eq!(now, Policy::Realtime(Realtime::RoundRobin));
                }
                Err(error) => assert_eq!(error.errno().0, rustix::io::Errno::PERM.raw_os_error()),
            }
        });
    }

    #[test]
    fn priority_that_the_policy_does_not_have_is_refused() {
        apart(|| {
            let options = ThreadOptions {
                policy: Some(1),
                priority: Some(100),
                ..ThreadOptions::default()
            };
            let error = options.settle_current_thread().unwrap_err();
            assert_eq!(error.errno(), Errno::INVAL);
            assert!(
                error
                    .detail()
                    .is_some_and(|text| text.contains("SCHED_FIFO"))
            );
        });
    }
}
