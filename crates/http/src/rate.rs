//! How many requests a second a node bears, learned from what it refuses. No clock: the time is an argument.
//!
//! Where it refuses many for a busy second, what it answered meanwhile is what it bears: from then on that is sent, evenly, and more after a
//! second's worth of answers without a refusal, so that a limit that is lifted is found out; where that was too much, it is waited longer before it is tried
//! again. A node that refuses at any rate answers less for it: of that one nothing is learned.

use std::time::Duration;
use tokio::time::Instant;

/// For how long is measured at least, and what came of how many requests.
const STRETCH: Duration = Duration::from_secs(1);
const FEWEST: u32 = 16;
/// One of so many refused are few.
const FEW: u32 = 16;
/// Where nothing was asked for so long it was not the node that was slow.
const IDLE: Duration = Duration::from_millis(250);
/// What is sent faster than the first needs no limit; nothing is sent more slowly than the second, for which there are pauses.
const SHORTEST_GAP: Duration = Duration::from_millis(1);
const LONGEST_GAP: Duration = Duration::from_secs(1);
/// After answers of how long without a refusal, and of how many requests, the gap becomes shorter, and by how many per cent.
const CLEAN: u32 = 8;
const SHORTER: [(Duration, u32); 4] = [(STRETCH, 10), (STRETCH, 20), (IDLE, 35), (IDLE, 50)];
/// How often the first of these times is doubled where it was too much.
const MOST_TRIED: u32 = 5;
/// How many stretches nothing is learned, the first time that it did not help, and at most.
const UNTAUGHT: u32 = 2;
const LONGEST_UNTAUGHT: u32 = 1_024;

#[derive(Debug, Default)]
pub(crate) struct Rate {
    /// The time between two requests, if one was learned, and when the next may be sent.
    gap: Option<Duration>,
    next: Option<Instant>,
    /// Since when is measured, and what came meanwhile.
    since: Option<Instant>,
    answered: u32,
    refused: u32,
    /// The time between two answers when a gap was learned, until it is seen that it helps.
    before: Option<Duration>,
    /// Answers since the last refusal or change, how often they made the gap shorter, and what it was before the last time.
    clean: u32,
    steps: usize,
    longer: Option<Duration>,
    /// How often in a row that was too much: each time it is waited twice as long before it is tried again.
    tried: u32,
    /// How many stretches nothing is learned, and how many it will be the next time.
    untaught: u32,
    mistrust: u32,
}

impl Rate {
    /// When the next may be sent, if that is learned.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Of so many requests, that could have been sent since then.
    pub(crate) fn sent(&mut self, now: Instant, requests: u32, free_since: Instant) {
        let free_since = self.next.map_or(free_since, |next| next.max(free_since));
        if self.since.is_none() || now.saturating_duration_since(free_since) > IDLE {
            self.begin(now);
        }
        self.next = self.gap.map(|gap| self.next.map_or(now, |next| next.max(now)) + gap.saturating_mul(requests));
    }

    pub(crate) fn answered(&mut self, now: Instant, requests: u32) {
        if self.answered == 0 {
            self.since = Some(now); // until then it was away
        }
        self.answered += requests;
        self.clean = self.clean.saturating_add(requests);
        let (after, percent) = SHORTER[self.steps.min(SHORTER.len() - 1)];
        let after = if self.steps == 0 { after * (1 << self.tried) } else { after };
        let is_clean = |gap: &Duration| self.clean >= CLEAN && gap.saturating_mul(self.clean) >= after;
        if let Some(gap) = self.gap.filter(is_clean) {
            (self.clean, self.steps, self.longer) = (0, self.steps + 1, Some(gap));
            self.tried = if self.steps < SHORTER.len() { self.tried } else { 0 };
            self.gap = Some(gap * (100 - percent) / 100).filter(|gap| *gap >= SHORTEST_GAP);
            self.next = self.next.filter(|_| self.gap.is_some());
        }
        self.judge(now);
    }

    pub(crate) fn refused(&mut self, now: Instant, requests: u32) {
        self.refused += requests;
        if let Some(longer) = self.longer.take() {
            (self.gap, self.tried) = (Some(longer), MOST_TRIED.min(self.tried + 1));
        }
        (self.clean, self.steps) = (0, 0);
        self.judge(now);
    }

    fn begin(&mut self, now: Instant) {
        (self.since, self.answered, self.refused) = (Some(now), 0, 0);
    }

    /// At the end of a stretch: what does it teach?
    fn judge(&mut self, now: Instant) {
        let took = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let (answered, all) = (self.answered, self.answered + self.refused);
        if took < STRETCH || all < FEWEST {
            return;
        }
        let are_many = self.refused > all / FEW;
        self.begin(now);
        let Some(seen) = took.checked_div(answered).map(|seen| seen.min(LONGEST_GAP)) else { return };
        if self.untaught > 0 {
            self.untaught -= 1;
        } else if !are_many {
            self.before = None;
        } else if self.before.is_some_and(|before| seen > before * 3 / 2) {
            self.mistrust = (self.mistrust * 2).clamp(UNTAUGHT, LONGEST_UNTAUGHT);
            (self.gap, self.next, self.before, self.longer, self.untaught) = (None, None, None, None, self.mistrust);
        } else {
            self.before = self.before.map(|before| before.min(seen)).or(Some(seen));
            // What is sent exactly so often is too often half of the time.
            (self.gap, self.clean, self.steps, self.longer) = (Some(seen * 21 / 20), 0, 0, None);
            self.next.get_or_insert(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten seconds from `at` on of one who asks as soon as he may, after a pause of 20 ms where it was refused, and is answered after 1 ms.
    /// Gives what was answered and refused.
    fn ten_seconds(rate: &mut Rate, at: &mut Instant, mut bears: impl FnMut(Instant) -> bool) -> (u32, u32) {
        let (end, mut answered, mut refused) = (*at + Duration::from_secs(10), 0, 0);
        let mut free = *at;
        while *at < end {
            *at = rate.next().map_or(*at, |next| next.max(*at));
            rate.sent(*at, 1, free);
            *at += Duration::from_millis(1);
            if bears(*at) {
                (_, answered) = (rate.answered(*at, 1), answered + 1);
            } else {
                (_, refused) = (rate.refused(*at, 1), refused + 1);
                *at += Duration::from_millis(20);
            }
            free = *at;
        }
        (answered, refused)
    }

    /// So many in any second.
    fn at_most(bears: usize) -> impl FnMut(Instant) -> bool {
        let mut taken = std::collections::VecDeque::new();
        move |now: Instant| {
            while taken.front().is_some_and(|at| now.duration_since(*at) >= Duration::from_secs(1)) {
                taken.pop_front();
            }
            let is_room = taken.len() < bears;
            is_room.then(|| taken.push_back(now));
            is_room
        }
    }

    #[test]
    fn what_a_node_bears_is_found_and_so_is_that_it_bears_more() {
        for bears in [5, 10, 50, 200] {
            let (mut rate, mut at) = (Rate::default(), Instant::now());
            let mut limit = at_most(bears);
            ten_seconds(&mut rate, &mut at, &mut limit);
            let (answered, refused) = ten_seconds(&mut rate, &mut at, &mut limit);
            let most = u32::try_from(bears * 10).unwrap();
            assert!(answered * 10 >= most * 8 && refused * 8 < answered, "{bears}: {answered} and {refused} refused");
            let freely = (0..5).map(|_| ten_seconds(&mut rate, &mut at, |_| true).0).max().unwrap();
            assert!(freely > 1_000 && rate.gap.is_none(), "{bears}: {freely} {:?}", rate.gap);
        }
    }

    /// So many a second, and so many at once that were saved up before.
    fn saved_up(bears: u32, most: u32) -> impl FnMut(Instant) -> bool {
        let each = Duration::from_secs(1) / bears;
        let (mut saved, mut last) = (each * most, None);
        move |now: Instant| {
            let since = last.replace(now).map_or(Duration::ZERO, |last| now.duration_since(last));
            saved = (saved + since).min(each * most);
            let is_room = saved >= each;
            saved -= if is_room { each } else { Duration::ZERO };
            is_room
        }
    }

    #[test]
    fn a_node_that_lets_many_pass_at_first_is_soon_asked_as_it_bears() {
        for (bears, at_first) in [(5, 5), (10, 10), (10, 30), (10, 100), (50, 50), (50, 200)] {
            let (mut rate, mut at) = (Rate::default(), Instant::now());
            let mut limit = saved_up(bears, at_first);
            ten_seconds(&mut rate, &mut at, &mut limit);
            let (answered, refused) = ten_seconds(&mut rate, &mut at, &mut limit);
            assert!(answered >= bears * 8 && refused * 4 < answered, "{bears}: {answered} and {refused} refused");
        }
    }

    #[test]
    fn of_a_node_that_refuses_at_any_rate_nothing_is_learned() {
        for answers_one_of in [2, 4, 10] {
            let (mut rate, mut at, mut nth) = (Rate::default(), Instant::now(), 0_u32);
            let mut any = |_| {
                nth += 1;
                nth.is_multiple_of(answers_one_of)
            };
            let freely = 10_000 / (1 + 21 * (answers_one_of - 1));
            let all: u32 = (0..6).map(|_| ten_seconds(&mut rate, &mut at, &mut any).0).sum();
            assert!(all * 10 > freely * 6 * 8, "one of {answers_one_of}: {all} of {}", freely * 6);
        }
    }

    #[test]
    fn a_node_that_was_away_for_long_is_asked_as_soon_as_it_is_back() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        let mut at = start;
        for _ in 0..100 {
            rate.sent(at, 1, at);
            rate.refused(at, 1);
            at += Duration::from_secs(60); // as it asked for itself
        }
        ten_seconds(&mut rate, &mut at, |_| true);
        assert!(rate.gap.is_none_or(|gap| gap <= LONGEST_GAP), "{:?}", rate.gap);
        assert!(ten_seconds(&mut rate, &mut at, |_| true).0 > 15, "{:?}", rate.gap);
    }

    #[test]
    fn a_time_in_which_nothing_is_asked_teaches_nothing() {
        let (mut rate, mut at) = (Rate::default(), Instant::now());
        for _ in 0..60 {
            let free = at;
            at += Duration::from_secs(1);
            rate.sent(at, 1, free);
            (0..5).for_each(|_| rate.answered(at, 1));
            rate.refused(at, 5);
        }
        assert_eq!(rate.gap, None);
    }
}
