//! What one node is asked and when: the cap that the operator sets, and what the node bears. No clock: the time is an argument.
//!
//! How many requests may be under way rises by one with each round that is answered and is halved by a refusal, as TCP's window
//! does (AIMD; RFC 5681, section 3.1). After a refusal nothing is asked for a while that doubles, each time up to a random part
//! shorter, so that those who were refused together do not come back together. How many are sent in a second is learned ([`Rate`]).

use std::num::NonZeroU32;
use std::time::Duration;
use tokio::time::Instant;

use crate::rate::Rate;

/// Requests that may be under way at most, and at first: a node of one's own is not to be slowed down before it says so.
const MOST: u32 = 64;
/// In which time no more arrives than the cap. When it does is not known: some time between when it is sent, and when it ends.
const WINDOW: Duration = Duration::from_secs(1);
/// How much earlier than evenly something may be sent, for a timer wakes late.
const EARLY: Duration = Duration::from_millis(5);
/// The pause after the first refusal; each further one in a row doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A node that asks to be left alone for longer is asked after this.
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// May it be asked?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Yes, and it counts as asked.
    Now,
    /// Not before then.
    At(Instant),
    /// Not before one that is under way, or comes first, has ended.
    WhenOneEnds,
    /// No: the node has refused whatever it was asked for as long as one is willing to ask again.
    Never,
}

/// What had its turn, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) at: Instant,
    pub(crate) requests: u32,
}

/// A question that waits for its turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    /// As how many requests it counts.
    pub(crate) requests: u32,
    pub(crate) since: Instant,
    /// For how long a node that only refuses is asked again.
    pub(crate) patience: Duration,
    /// It was refused before, and comes first.
    pub(crate) again: bool,
}

/// What counts against the cap.
#[derive(Debug)]
struct Sent {
    at: Instant,
    requests: u32,
    ended: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Limits {
    /// Requests per second.
    cap: Option<NonZeroU32>,
    /// What is under way under the cap, and what ended within the last [`WINDOW`].
    sent: Vec<Sent>,
    /// When the next one would be sent evenly.
    evenly: Option<Instant>,
    /// What the node bears.
    rate: Rate,
    under_way: u32,
    /// When the last one ended.
    ended: Option<Instant>,
    /// How many that were refused wait to be asked again: they come first, else two by turns might be refused for ever.
    again: u32,
    most: u32,
    /// Answers since `most` changed.
    answered: u32,
    /// Refusals in a row, those that were on their way together counted as one; and when the last of them came.
    refusals: u32,
    cut: Option<Instant>,
    closed_until: Option<Instant>,
    /// Until when the node itself asked to be left alone.
    asked_off_until: Option<Instant>,
    /// Since when it only refuses, and when it did so last.
    refusing: Option<(Instant, Instant)>,
    last_answer: Option<Instant>,
}

impl Limits {
    pub(crate) fn new(cap: Option<NonZeroU32>) -> Limits {
        Limits {
            cap,
            sent: Vec::new(),
            evenly: None,
            rate: Rate::default(),
            under_way: 0,
            ended: None,
            again: 0,
            most: MOST,
            answered: 0,
            refusals: 0,
            cut: None,
            closed_until: None,
            asked_off_until: None,
            refusing: None,
            last_answer: None,
        }
    }

    /// Asks for a turn. Who gets it says later how it ended.
    pub(crate) fn ask(&mut self, now: Instant, wish: Wish) -> Turn {
        let Wish { requests, since, patience, again } = wish;
        // One finds out for all who wait: each would have to wait for the pause of the one before.
        if self.refusing.is_some_and(|(first, last)| last >= since && last.duration_since(first) >= patience) {
            return Turn::Never;
        }
        if let Some(until) = self.closed_until.filter(|until| *until > now) {
            return Turn::At(until);
        }
        if self.under_way >= self.most || (self.again > 0 && !again) {
            return Turn::WhenOneEnds;
        }
        if let Some(next) = self.rate.next().and_then(|next| next.checked_sub(EARLY)).filter(|next| *next > now) {
            return Turn::At(next);
        }
        if let Some(cap) = self.cap {
            let requests = requests.min(cap.get());
            match self.earliest(now, requests, cap) {
                None => return Turn::WhenOneEnds,
                Some(earliest) if earliest > now => return Turn::At(earliest),
                Some(_) => {}
            }
            self.sent.push(Sent { at: now, requests, ended: None });
            self.evenly = Some(self.evenly.map_or(now, |evenly| evenly.max(now)) + WINDOW * requests / cap.get());
        }
        let free_since = self.ended.max(self.closed_until).filter(|_| self.under_way == 0).unwrap_or(now);
        self.rate.sent(now, requests, free_since);
        self.under_way += 1;
        Turn::Now
    }

    /// When the cap lets it be sent, if that is not only after something that is under way.
    fn earliest(&mut self, now: Instant, requests: u32, cap: NonZeroU32) -> Option<Instant> {
        self.sent.retain(|sent| sent.ended.is_none_or(|ended| now.duration_since(ended) < WINDOW));
        let evenly = self.evenly.and_then(|evenly| evenly.checked_sub(EARLY)).map_or(now, |evenly| evenly.max(now));
        let within: u64 = self.sent.iter().map(|sent| u64::from(sent.requests)).sum();
        let over = (within + u64::from(requests)).saturating_sub(cap.get().into());
        if over == 0 {
            return Some(evenly);
        }
        let mut ended: Vec<_> = self.sent.iter().filter_map(|sent| Some((sent.ended?, sent.requests))).collect();
        ended.sort_unstable();
        let mut freed = 0;
        let enough = ended.into_iter().find(|(_, requests)| {
            freed += u64::from(*requests);
            freed >= over
        });
        enough.map(|(ended, _)| evenly.max(ended + WINDOW))
    }

    /// What was asked then was answered.
    pub(crate) fn answered(&mut self, asked: Asked, now: Instant) {
        self.last_answer = Some(now);
        self.refusing = None;
        self.rate.answered(now, asked.requests);
        if self.cut.is_some_and(|cut| asked.at < cut) {
            return; // it says nothing of how we ask now
        }
        self.refusals = 0;
        self.answered += 1;
        if self.answered >= self.most {
            self.most = (self.most + 1).min(MOST);
            self.answered = 0;
        }
    }

    /// What was asked then was refused since it was too much. Says for how long nothing else is heard.
    pub(crate) fn refused(
        &mut self,
        asked: Asked,
        now: Instant,
        retry_after: Option<Duration>,
        jitter: impl Fn(Duration) -> Duration,
    ) -> Duration {
        self.leave_alone(now, retry_after);
        self.rate.refused(now, asked.requests);
        self.overdue(asked, now, jitter);
        let (first, last) = self.refusing.get_or_insert((now, now));
        *last = now;
        now.duration_since(*first)
    }

    /// The same of several questions at once. Fewer may do, so that it says nothing of whether the node answers at all, and the
    /// pause does not become longer.
    pub(crate) fn refused_many(
        &mut self,
        asked: Asked,
        now: Instant,
        retry_after: Option<Duration>,
        jitter: impl Fn(Duration) -> Duration,
    ) {
        let refusals = self.refusals;
        self.leave_alone(now, retry_after);
        self.rate.refused(now, asked.requests);
        self.overdue(asked, now, jitter);
        self.refusals = refusals;
    }

    /// What was asked then was answered, but that it was too much in part, or for now.
    pub(crate) fn partly(
        &mut self,
        asked: Asked,
        now: Instant,
        retry_after: Option<Duration>,
        jitter: impl Fn(Duration) -> Duration,
    ) {
        (self.last_answer, self.refusing) = (Some(now), None);
        self.leave_alone(now, retry_after);
        self.rate.refused(now, asked.requests);
        self.overdue(asked, now, jitter);
    }

    fn leave_alone(&mut self, now: Instant, retry_after: Option<Duration>) {
        let until = retry_after.map(|wait| now + wait.min(LONGEST_RETRY_AFTER));
        self.asked_off_until = self.asked_off_until.max(until);
        self.closed_until = self.closed_until.max(until);
    }

    /// What was asked then found no answer in time, or not all of it.
    pub(crate) fn overdue(&mut self, asked: Asked, now: Instant, jitter: impl Fn(Duration) -> Duration) {
        if self.cut.is_some_and(|cut| asked.at < cut) {
            return; // it was on its way when another one was refused
        }
        (self.cut, self.answered) = (Some(now), 0);
        self.most = (self.most.min(self.under_way) / 2).max(1);
        let doubled = 1_u32.checked_shl(self.refusals).map_or(LONGEST_PAUSE, |times| FIRST_PAUSE.saturating_mul(times));
        self.refusals += 1;
        self.closed_until = self.closed_until.max(Some(now + jitter(doubled.min(LONGEST_PAUSE))));
    }

    /// One that was refused will be asked again, or has been, or will not be any more.
    pub(crate) fn wants_again(&mut self, wants: bool) {
        self.again = if wants { self.again + 1 } else { self.again - 1 };
    }

    /// What had its turn then ended, however.
    pub(crate) fn ended(&mut self, asked: Asked, now: Instant) {
        if let Some(sent) = self.sent.iter_mut().find(|sent| sent.at == asked.at && sent.ended.is_none()) {
            sent.ended = Some(now);
        }
        self.under_way -= 1;
        self.ended = Some(now);
    }

    /// Since when nothing but refusals is heard.
    pub(crate) fn refusing_since(&self) -> Option<Instant> {
        self.refusing.map(|(first, _)| first)
    }

    /// The last answer, or, if that is later, until when the node asked to be left alone: what came before says nothing of
    /// whether it is worth waiting.
    pub(crate) fn last_sign(&self) -> Option<Instant> {
        self.last_answer.max(self.asked_off_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(cap: Option<u32>) -> (Limits, Instant) {
        (Limits::new(cap.and_then(NonZeroU32::new)), Instant::now())
    }

    fn wish(since: Instant, requests: u32) -> Wish {
        Wish { requests, since, patience: Duration::from_secs(1_000), again: false }
    }

    fn one(at: Instant) -> Asked {
        Asked { at, requests: 1 }
    }

    /// Asks as soon as it may; gives when that was.
    fn next(limits: &mut Limits, mut now: Instant, requests: u32) -> Instant {
        loop {
            match limits.ask(now, wish(now, requests)) {
                Turn::Now => return now,
                Turn::At(later) => {
                    assert!(later > now);
                    now = later;
                }
                Turn::WhenOneEnds | Turn::Never => panic!("none is under way, or refused before"),
            }
        }
    }

    #[test]
    fn in_no_second_is_more_sent_than_the_cap() {
        // by turns a few alone and a batch, for half a minute
        for (cap, batch) in [(1, 1), (3, 2), (20, 5), (20, 20), (100, 7), (5_000, 50)] {
            let (mut limits, start) = limits(Some(cap));
            let (mut now, mut sent, mut nth) = (start, Vec::new(), 0_u32);
            while now < start + Duration::from_secs(10) {
                let requests = if nth % 4 == 3 { batch } else { 1 };
                now = next(&mut limits, now, requests);
                sent.push((now, requests));
                let asked = Asked { at: now, requests };
                limits.answered(asked, now);
                limits.ended(asked, now);
                nth += 1;
            }
            let mut total = 0;
            for (place, (from, _)) in sent.iter().enumerate() {
                let within =
                    sent[place..].iter().take_while(|(at, _)| at.duration_since(*from) < Duration::from_secs(1));
                let within: u32 = within.map(|(_, requests)| requests).sum();
                assert!(within <= cap, "{within} of {cap} from {:?} on", from.duration_since(start));
                total += sent[place].1;
            }
            let least = if batch * 2 > cap { cap * 4 } else { cap * 8 };
            assert!(total >= least, "the cap is {cap} a second, and in ten were sent {total}");
        }
    }

    #[test]
    fn in_no_second_arrives_more_than_the_cap_however_long_it_is_on_its_way() {
        for cap in [1_u32, 3, 20, 200] {
            let (mut limits, start) = limits(Some(cap));
            let mut seed = 1_u64;
            let mut up_to = |most: Duration| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                most.mul_f64((seed >> 40) as f64 / f64::from(1 << 24))
            };
            let (mut now, mut under_way, mut arrived) = (start, Vec::<(Instant, Asked)>::new(), Vec::new());
            while now < start + Duration::from_secs(10) {
                under_way.sort_by_key(|(ends, _)| *ends);
                while under_way.first().is_some_and(|(ends, _)| *ends <= now) {
                    let (ends, asked) = under_way.remove(0);
                    limits.answered(asked, ends);
                    limits.ended(asked, ends);
                }
                let next_end = under_way.first().map(|(ends, _)| *ends);
                now = match limits.ask(now, wish(now, 1)) {
                    Turn::Now => {
                        let took = up_to(Duration::from_millis(600));
                        arrived.push(now + up_to(took));
                        under_way.push((now + took, one(now)));
                        now
                    }
                    Turn::At(later) => next_end.map_or(later, |end| end.min(later)),
                    Turn::WhenOneEnds => next_end.expect("one is under way"),
                    Turn::Never => panic!("it did not refuse"),
                };
            }
            arrived.sort_unstable();
            for (place, from) in arrived.iter().enumerate() {
                let within = arrived[place..].iter().take_while(|at| at.duration_since(*from) < WINDOW).count();
                assert!(within <= cap as usize, "{within} of {cap}");
            }
            assert!(arrived.len() >= 6 * cap as usize, "{} of {cap} a second in ten", arrived.len());
        }
    }

    #[test]
    fn what_is_more_than_the_cap_at_once_is_sent_alone_in_its_second() {
        let (mut limits, start) = limits(Some(2));
        assert_eq!(next(&mut limits, start, 50), start);
        let late = start + Duration::from_millis(300);
        assert_eq!(limits.ask(late, wish(late, 1)), Turn::WhenOneEnds);
        limits.ended(one(start), late);
        assert_eq!(next(&mut limits, late, 1), late + WINDOW);
    }

    #[test]
    fn a_refusal_halves_what_is_under_way_and_answers_raise_it_by_one() {
        let (mut limits, start) = limits(None);
        let whole = |pause| pause;
        for _ in 0..MOST {
            assert_eq!(limits.ask(start, wish(start, 1)), Turn::Now);
        }
        assert_eq!(limits.ask(start, wish(start, 1)), Turn::WhenOneEnds);
        // Of those that were on their way together, one refusal counts.
        for _ in 0..MOST {
            limits.refused(one(start), start + FIRST_PAUSE, None, whole);
            limits.ended(one(start), start + FIRST_PAUSE);
        }
        assert_eq!(limits.most, MOST / 2);
        let mut now = start + FIRST_PAUSE;
        assert_eq!(limits.ask(now, wish(now, 1)), Turn::At(now + FIRST_PAUSE));
        now += FIRST_PAUSE;
        for _ in 0..MOST / 2 {
            assert_eq!(limits.ask(now, wish(now, 1)), Turn::Now);
        }
        assert_eq!(limits.ask(now, wish(now, 1)), Turn::WhenOneEnds);
        for _ in 0..MOST / 2 {
            limits.answered(one(now), now);
            limits.ended(one(now), now);
        }
        assert_eq!(limits.most, MOST / 2 + 1);
        // Never below one, and each pause twice as long as the one before, up to a bound.
        let mut pauses = Vec::new();
        for _ in 0..40 {
            now = next(&mut limits, now, 1);
            limits.refused(one(now), now, None, whole);
            limits.ended(one(now), now);
            pauses.push(limits.closed_until.unwrap().duration_since(now));
        }
        assert_eq!(limits.most, 1);
        assert_eq!(pauses[..4], [1, 2, 4, 8].map(|times| FIRST_PAUSE * times));
        assert_eq!(pauses[39], LONGEST_PAUSE);
        // One answer, and the next refusal begins anew.
        now = next(&mut limits, now, 1);
        limits.answered(one(now), now);
        limits.ended(one(now), now);
        now = next(&mut limits, now, 1);
        limits.refused(one(now), now, None, whole);
        assert_eq!(limits.closed_until, Some(now + FIRST_PAUSE));
    }

    #[test]
    fn it_is_left_alone_for_as_long_as_it_asks_within_bounds() {
        let (mut limits, start) = limits(None);
        let s = Duration::from_secs;
        assert_eq!(next(&mut limits, start, 1), start);
        assert_eq!(limits.refused(one(start), start, Some(s(7)), |pause| pause), s(0));
        limits.ended(one(start), start);
        assert_eq!(limits.ask(start + s(6), wish(start, 1)), Turn::At(start + s(7)));
        assert_eq!(limits.last_sign(), Some(start + s(7)));
        assert_eq!(next(&mut limits, start + s(6), 1), start + s(7));
        limits.ended(one(start + s(7)), start + s(7));
        // One that was refused comes before others.
        limits.wants_again(true);
        let at = start + s(7);
        let asked = [false, true].map(|again| limits.ask(at, Wish { again, ..wish(at, 1) }));
        assert_eq!(asked, [Turn::WhenOneEnds, Turn::Now]);
        limits.wants_again(false);
        // For how long it refuses is told. Whoever waits, and is not willing to bear that, is not asked; who comes later is, and an answer
        // ends it.
        assert_eq!(limits.refused(one(at), at + s(1), Some(s(100_000)), |pause| pause), s(8));
        limits.ended(one(at), at + s(1));
        let now = at + s(2);
        let mut ask = |since, patience| limits.ask(now, Wish { patience: s(patience), ..wish(since, 1) });
        let later = Turn::At(at + s(1) + LONGEST_RETRY_AFTER);
        assert_eq!([ask(at, 8), ask(at, 9), ask(now, 8)], [Turn::Never, later, later]);
        limits.answered(one(at), now);
        assert_eq!(limits.refusing_since(), None);
        assert_eq!(limits.ask(now, Wish { patience: s(8), ..wish(at, 1) }), later);
    }
}
