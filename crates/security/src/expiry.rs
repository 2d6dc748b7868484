//! Certificates that end are announced long before. Decisions only: the caller
//! brings the time and logs.

use std::time::{Duration, SystemTime};

use x509_cert::der::DateTime;

use crate::rotation::Time;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long before its end a certificate is talked about.
pub const NOTICE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How often to look: often enough for machines that were suspended.
pub const LOOK: Duration = Duration::from_secs(60 * 60);

/// When the certificates end that an identity stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub root: Time,
    pub issuer: Time,
}

/// Says once a day which certificates end within [`NOTICE`].
#[derive(Clone, Debug, Default)]
pub struct Reminder {
    last: Option<(Time, Ends)>,
}

impl Reminder {
    /// Lines for the log, none in quiet times. New certificates are judged at
    /// once, the same ones once a day.
    pub fn due(&mut self, now: Time, ends: Ends) -> Vec<String> {
        // A clock that was set back must not silence it.
        let told = |(at, of): (Time, Ends)| of == ends && at <= now && now.since(at) < DAY;
        if self.last.is_some_and(told) {
            return Vec::new();
        }
        self.last = Some((now, ends));
        let all = [("root", ends.root), ("issuer", ends.issuer)];
        all.into_iter().filter_map(|(what, end)| line(what, end, now)).collect()
    }
}

fn line(what: &str, end: Time, now: Time) -> Option<String> {
    const ADVICE: &str = "renew it with 'dapr mtls renew-certificate'";
    let at = text_of(end);
    if end < now {
        return Some(format!("The {what} certificate has expired, at {at}: calls over mTLS fail; {ADVICE}"));
    }
    let left = end.since(now);
    let days = left.as_secs() / DAY.as_secs();
    (left < NOTICE).then(|| {
        let left = match days {
            0 => "today".to_owned(),
            1 => "in 1 day".to_owned(),
            days => format!("in {days} days"),
        };
        format!(
            "The {what} certificate expires {left}, at {at}: no call over mTLS works afterwards; {ADVICE}"
        )
    })
}

fn text_of(time: Time) -> String {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(time.0 / 1000);
    DateTime::from_system_time(at).map_or_else(|_| "an unknown time".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_seconds(1_700_000_000);
    const fn days(count: u64) -> u64 {
        count * 24 * 60 * 60 * 1000
    }

    fn ends(root: Time, issuer: Time) -> Ends {
        Ends { root, issuer }
    }

    #[test]
    fn nothing_is_said_before_the_last_thirty_days() {
        let far = NOW.plus(days(30));
        assert!(Reminder::default().due(NOW, ends(far, far)).is_empty());
        let lines = Reminder::default().due(NOW.plus(1), ends(far, far));
        assert_eq!(lines.len(), 2);
        assert_eq!(
            lines[0],
            "The root certificate expires in 29 days, at 2023-12-14T22:13:20Z: no call over mTLS works \
             afterwards; renew it with 'dapr mtls renew-certificate'"
        );
    }

    #[test]
    fn it_is_said_once_a_day_and_at_once_for_new_certificates() {
        let mut reminder = Reminder::default();
        let (far, near) = (NOW.plus(days(300)), NOW.plus(days(10)));
        assert_eq!(reminder.due(NOW, ends(far, near)).len(), 1);
        assert!(reminder.due(NOW.plus(days(1) - 1), ends(far, near)).is_empty());
        assert_eq!(reminder.due(NOW.plus(days(1)), ends(far, near)).len(), 1);
        assert_eq!(reminder.due(NOW.plus(days(1)), ends(near, near)).len(), 2, "changed");
        assert_eq!(reminder.due(NOW, ends(near, near)).len(), 2, "the clock was set back");
    }

    #[test]
    fn the_last_day_and_the_time_after_it_have_their_words() {
        let said = |end: Time| Reminder::default().due(NOW, ends(end, NOW.plus(days(99)))).remove(0);
        assert!(said(NOW.plus(days(1) - 1)).contains("expires today"));
        assert!(said(NOW.plus(days(1))).contains("expires in 1 day,"));
        assert!(
            said(Time(NOW.0 - 1)).starts_with("The root certificate has expired, at 2023-11-14T22:13:19Z: ")
        );
    }
}
