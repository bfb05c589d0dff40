//! Failpoints: places at which a process dies, or stops, on purpose, so that a test can have it die exactly there.
//!
//! Only in a build with the feature `failpoints`; in any other, [`failpoint!`](crate::failpoint!) is nothing, the name
//! included. The environment chooses one: `FAILPOINT=name:n` aborts at the n-th pass, without unwinding, flushing or
//! closing anything, as SIGKILL would. `FAILPOINT=name:n:stop` has the process stop there like under SIGSTOP, until
//! somebody sends SIGCONT.

/// Marks a place at which a process may be told to die. With a condition, only what fulfils it counts as a pass.
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        $crate::failpoint::pass($name)
    };
    ($name:literal, if $condition:expr) => {
        if $condition {
            $crate::failpoint::pass($name);
        }
    };
}

/// Marks a place at which a process may be told to die: nothing, in this build.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! failpoint {
    ($name:literal $(, if $condition:expr)?) => {};
}

#[cfg(feature = "failpoints")]
pub use armed::pass;

#[cfg(feature = "failpoints")]
mod armed {
    use std::{
        process::Command,
        sync::{
            LazyLock,
            atomic::{AtomicU64, Ordering},
        },
    };

    /// The point that was chosen, if any.
    static ARMED: LazyLock<Option<Point>> = LazyLock::new(|| {
        let text = std::env::var("FAILPOINT").ok()?;
        let point = Point::parse(&text);
        if point.is_none() {
            tracing::error!("FAILPOINT is {text:?}; it has to be name:n or name:n:stop");
        }
        point
    });
    static PASSES: AtomicU64 = AtomicU64::new(0);

    #[derive(Debug, PartialEq, Eq)]
    struct Point {
        name: String,
        pass: u64,
        stops: bool,
    }

    impl Point {
        fn parse(text: &str) -> Option<Self> {
            let mut parts = text.split(':');
            let (name, pass) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
            let stops = match parts.next() {
                None => false,
                Some("stop") => true,
                Some(_) => return None,
            };
            Some(Self { name, pass, stops })
        }
    }

    /// Passes the point `name`, if it is not the one at which this process ends.
    pub fn pass(name: &str) {
        let Some(point) = ARMED.as_ref().filter(|point| point.name == name) else { return };
        if PASSES.fetch_add(1, Ordering::Relaxed) + 1 != point.pass {
            return;
        }
        tracing::error!("failpoint {name}, pass {}", point.pass);
        if !point.stops {
            std::process::abort();
        }
        // By a program, as raising a signal is no safe Rust. It is over before this line returns.
        let _ = Command::new("kill").args(["-s", "STOP", &std::process::id().to_string()]).status();
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_point_is_a_name_a_pass_and_what_happens() {
            let point = |stops| Some(Point { name: "relay.after-select".into(), pass: 3, stops });
            assert_eq!(Point::parse("relay.after-select:3"), point(false));
            assert_eq!(Point::parse("relay.after-select:3:stop"), point(true));
            for wrong in ["", "relay.after-select", "relay.after-select:x", "relay.after-select:3:die"] {
                assert_eq!(Point::parse(wrong), None, "{wrong}");
            }
        }
    }
}
