//! Random numbers, and who is next.

/// How the next thread is chosen. A seed picks one, since each finds what another rarely meets.
#[derive(Debug)]
enum Strategy {
    /// At one point in so many, any other thread goes on.
    Odds(u64),
    /// The ready thread of the highest priority runs. At one point in `change` it becomes the last:
    /// so others do much while one stands in the middle of something (Burckhardt et al., "A
    /// Randomized Scheduler with Probabilistic Guarantees of Finding Bugs", 2010).
    Priorities { change: u64, of: Vec<i64> },
}

#[derive(Debug)]
pub(super) struct Chooser {
    random: u64,
    strategy: Strategy,
    /// Below every priority that was ever given.
    lowest: i64,
}

impl Chooser {
    pub(super) fn new(seed: u64, threads: usize) -> Self {
        let mut chooser = Self {
            random: seed,
            strategy: Strategy::Odds(2),
            lowest: -1,
        };
        chooser.strategy = match chooser.below(6) {
            0 => Strategy::Odds(2),
            1 => Strategy::Odds(8),
            2 => Strategy::Odds(32),
            3 => Strategy::Odds(128),
            short => Strategy::Priorities {
                change: if short == 4 { 40 } else { 400 },
                of: chooser.shuffled(threads),
            },
        };
        chooser
    }

    /// Returns the numbers below `count`, in any order.
    fn shuffled(&mut self, count: usize) -> Vec<i64> {
        let mut numbers: Vec<i64> = (0..count as i64).collect();
        for last in (1..count).rev() {
            let other = self.below(last + 1);
            numbers.swap(last, other);
        }
        numbers
    }

    /// SplitMix64.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.draw() % bound as u64) as usize
    }

    pub(super) fn one_in(&mut self, chances: u64) -> bool {
        self.draw().is_multiple_of(chances)
    }

    /// Who goes on after a point of `me`, of the threads that can; `away` asks for another than
    /// `me`.
    pub(super) fn next(&mut self, me: usize, ready: &[usize], away: bool) -> usize {
        let chances = match self.strategy {
            Strategy::Odds(chances) => chances,
            Strategy::Priorities { change, .. } => change,
        };
        let moves = self.one_in(chances) || away;
        let pick = self.below(ready.len());
        let is_ready = ready.contains(&me);
        match &mut self.strategy {
            Strategy::Odds(_) if is_ready && !moves => me,
            Strategy::Odds(_) if ready[pick] == me => ready[(pick + 1) % ready.len()],
            Strategy::Odds(_) => ready[pick],
            Strategy::Priorities { of, .. } => {
                if moves && is_ready {
                    of[me] = self.lowest;
                    self.lowest -= 1;
                }
                let best = ready.iter().max_by_key(|&&thread| of[thread]);
                best.copied().unwrap_or(me)
            }
        }
    }
}
