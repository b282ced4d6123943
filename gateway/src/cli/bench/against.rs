//! `hookmill bench --against ATTACK`: what one tenant notices of another that means harm.
//!
//! A bystander's events come at a steady rate and go to two subscriptions, one of them through a plugin. They are
//! measured first with the attacker's subscriptions and endpoints there and at rest, then while all cores are kept
//! [`busy`](Busy) and nobody attacks, then while it attacks. Reported are all three, side by side, the memory of the
//! gateway, and what the attack's own requests and attempts came to, by the names the API gives them; of several rounds,
//! each with a gateway of its own, in the end the ratios of the middle p99s, and a verdict: which attacks double a p99. Each
//! part's middle one is found by itself: a shared machine's pause is in one part of a round, and would be in its ratio. **What is promised.** Every acknowledged event of the bystander is
//! looked for at both endpoints. **What is deliberately not.** No ratio makes the bench fail. The attacker's clients and
//! endpoints share the machine too: what they cost is in the bystander's figures. What the machine costs by itself when no
//! core of it is idle is told by the second of the three; a virtual one may then stand still for milliseconds at a time, and
//! for what share of each part its host kept cores from it is told, too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde::Serialize;

use super::attack::{Assault, Attack};
use super::busy::Busy;
use super::child::Process;
use super::figures::{Spread, lines, mebibytes, shortfall, spread};
use super::load::{Answer, End, Load};
use super::machine::{Host, Machine};
use super::run::{drain, micros};
use super::{Bench, Stage};
use crate::cli::patience::Patience;
use crate::cli::print;
use crate::engine::fixtures;

/// How long a change of what others do is not measured, unless all is over sooner.
const SETTLING: Duration = Duration::from_secs(2);
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How many times another p99 one may be before the verdict names it.
const TWICE: f64 = 2.0;

/// One attack, or all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attacks(Vec<Attack>);

impl Attacks {
    /// Reads an attack's word, or `all`.
    pub(super) fn parser() -> impl TypedValueParser<Value = Self> {
        let each = Attack::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let all = PossibleValue::new("all").help("All of them, one after the other");
        PossibleValuesParser::new(each.chain([all])).map(|name| match Attack::from_str(&name, false) {
            Ok(attack) => Self(vec![attack]),
            Err(_) => Self(Attack::value_variants().to_vec()),
        })
    }
}

/// What came of it all.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Siege {
    pub(super) machine: Machine,
    /// What the bystander did, in words.
    pub(super) load: String,
    /// Each round of each attack.
    pub(super) attacks: Vec<Endured>,
}

/// What came of one attack.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Endured {
    pub(super) attack: String,
    /// The bystander's deliveries without a plugin.
    pub(super) plain: Contrast,
    /// Those through a plugin.
    pub(super) through_plugin: Contrast,
    /// For what share of each part, and of what leads to it, the host kept the machine's cores from it.
    pub(super) taken_by_host: Taken,
    /// The most resident memory of the gateway before the attack.
    pub(super) quiet_memory_bytes: u64,
    /// The same during the attack.
    pub(super) attacked_memory_bytes: u64,
    /// The bystander's events.
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    pub(super) unanswered: u64,
    /// The bystander's deliveries that did not arrive.
    pub(super) lost: u64,
    /// What the attacker's requests, the runs of its plugins, and some of its attempts came to.
    pub(super) faults: BTreeMap<String, u64>,
}

/// Shares of the time of all cores.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Taken {
    pub(super) quiet: f64,
    pub(super) busy: f64,
    pub(super) attacked: f64,
}

impl Taken {
    fn words(self) -> String {
        let [quiet, busy, attacked] = [self.quiet, self.busy, self.attacked].map(|share| 100.0 * share);
        format!("{quiet:.1} % of the cores' time; busy {busy:.1} %, attacked {attacked:.1} %")
    }
}

/// Event to delivery, without and with an attack.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Contrast {
    pub(super) quiet: Option<Spread>,
    /// Without an attack on a machine that is busy.
    pub(super) busy: Option<Spread>,
    pub(super) attacked: Option<Spread>,
    /// How many times the quiet p99 the attacked one is.
    pub(super) p99_ratio: Option<f64>,
    /// How many times the busy one it is.
    pub(super) p99_ratio_to_busy: Option<f64>,
}

impl Contrast {
    fn of(quiet: Vec<u32>, busy: Vec<u32>, attacked: Vec<u32>) -> Self {
        let [quiet, busy, attacked] = [quiet, busy, attacked].map(Spread::of);
        let ratio_to = |other: Option<Spread>| other.zip(attacked).map(|(other, attacked)| attacked.p99 / other.p99);
        Self { quiet, busy, attacked, p99_ratio: ratio_to(quiet), p99_ratio_to_busy: ratio_to(busy) }
    }

    /// The rows of a table.
    fn rows(&self, name: &'static str) -> [(&'static str, String); 3] {
        [
            (name, spread(self.quiet)),
            ("  machine busy", spread(self.busy)),
            ("  attacked", format!("{} (p99 times {})", spread(self.attacked), ratios(&[*self]))),
        ]
    }
}

/// One of a round's two contrasts.
type Of = fn(&Endured) -> Contrast;

/// One of a contrast's three parts.
type Part = fn(&Contrast) -> Option<Spread>;

/// The middle one of the p99s of a part in some rounds.
fn middle(rounds: &[Contrast], part: Part) -> Option<f64> {
    let mut found: Vec<f64> = rounds.iter().filter_map(part).map(|spread| spread.p99).collect();
    found.sort_unstable_by(f64::total_cmp);
    found.get(found.len().saturating_sub(1) / 2).copied()
}

/// How many times the middle p99 of another part the attacked one is.
fn ratio(rounds: &[Contrast], to: Part) -> Option<f64> {
    Some(middle(rounds, |round| round.attacked)? / middle(rounds, to)?)
}

/// Both ratios of some rounds.
fn ratios(rounds: &[Contrast]) -> String {
    let told = |to| ratio(rounds, to).map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
    format!("{}, {} of busy", told(|round| round.quiet), told(|round| round.busy))
}

impl Siege {
    /// For people; each attack has been shown as it ended.
    pub(super) fn table(&self) -> String {
        let endured = self.by_attack().map(|rounds| {
            let of_all = |contrast: Of| ratios(&rounds.iter().map(contrast).collect::<Vec<_>>());
            let (plain, through_plugin) = (of_all(|round| round.plain), of_all(|round| round.through_plugin));
            format!("{} {plain} (through a plugin {through_plugin})", rounds[0].attack)
        });
        lines(&[
            ("machine", self.machine.line()),
            ("bystander", self.load.clone()),
            ("p99 times", endured.collect::<Vec<_>>().join("; ")),
            ("verdict", self.verdict()),
        ])
    }

    /// The rounds of each attack.
    fn by_attack(&self) -> impl Iterator<Item = &[Endured]> {
        self.attacks.chunk_by(|one, next| one.attack == next.attack)
    }

    /// Which attacks at least double a p99: the quiet one, and that of a busy machine.
    fn verdict(&self) -> String {
        const HOW: [(&str, Of); 2] = [("", |round| round.plain), (" through a plugin", |round| round.through_plugin)];
        let doubled = |to: Part| {
            let mut doubled = Vec::new();
            for rounds in self.by_attack() {
                for (how, contrast) in HOW {
                    if let Some(times) = ratio(&rounds.iter().map(contrast).collect::<Vec<_>>(), to)
                        && times >= TWICE
                    {
                        doubled.push(format!("{}{how} ({times:.2})", rounds[0].attack));
                    }
                }
            }
            if doubled.is_empty() { "none".to_owned() } else { doubled.join(", ") }
        };
        let (quiet, busy) = (doubled(|round| round.quiet), doubled(|round| round.busy));
        format!("at twice the quiet p99 or more: {quiet}; at twice the busy one: {busy}")
    }

    /// Why the run is no success.
    pub(super) fn shortfall(&self) -> Option<String> {
        let short = self.attacks.iter().filter_map(|endured| {
            let shortfall = shortfall(endured.acknowledged, endured.lost)?;
            Some(format!("{}: {shortfall}", endured.attack))
        });
        let short: Vec<String> = short.collect();
        (!short.is_empty()).then(|| short.join("; "))
    }
}

impl Endured {
    fn table(&self) -> String {
        let Self { attack, quiet_memory_bytes, attacked_memory_bytes, .. } = self;
        let Self { acknowledged, refused, unanswered, lost, .. } = self;
        let memory = (mebibytes(*quiet_memory_bytes), mebibytes(*attacked_memory_bytes));
        let faults: Vec<String> = self.faults.iter().map(|(name, count)| format!("{count} {name}")).collect();
        let mut rows = vec![("attack", attack.clone())];
        rows.extend(self.plain.rows("event to delivery"));
        rows.extend(self.through_plugin.rows("through a plugin"));
        rows.extend([
            ("taken by the host", self.taken_by_host.words()),
            ("gateway memory", format!("{} MiB at most; attacked {} MiB", memory.0, memory.1)),
            ("events", format!("{acknowledged} acknowledged, {refused} refused, {unanswered} unanswered, {lost} lost")),
            ("attacker's", faults.join("; ")),
        ]);
        lines(&rows) + "\n"
    }
}

impl Bench {
    /// Endures one attack after the other, each round with a gateway of its own.
    pub(super) async fn endure(&self, attacks: &Attacks) -> anyhow::Result<Siege> {
        let rate = self.per_second().context("a bystander has a rate")?;
        let pace = self.pace();
        let load = format!("{} connections, {pace}, {} bytes, to two subscriptions", self.connections, self.size);
        let mut siege = Siege { machine: Machine::read(), load, attacks: Vec::new() };
        for attack in &attacks.0 {
            for _ in 0..self.rounds {
                let endured = self.endure_one(*attack, rate).await?;
                if !self.json {
                    print(&endured.table());
                }
                siege.attacks.push(endured);
            }
        }
        Ok(siege)
    }

    async fn endure_one(&self, attack: Attack, rate: f64) -> anyhow::Result<Endured> {
        let mut stage = Stage::set(self.store_dir.as_deref(), usize::from(self.subscriptions())).await?;
        stage.settings.extend(attack.settings());
        stage.add_plugin("looping", &fixtures::looping())?;
        stage.add_plugin("bomb", &fixtures::bomb())?;
        let (watch, ledger) = (stage.watch, &*stage.ledger);
        let gateway = stage.start().await?;
        let key = self.set_up(&gateway, &stage).await?;
        let preparing = Patience::spin(&format!("preparing the attack `{}`", attack.name()));
        let (_, attacker) = stage.tenant(&gateway, "Attacker").await?;
        let mut assault = Assault::prepare(attack, gateway.address, attacker).await?;
        drop(preparing);

        let _measuring = Patience::spin(&format!("measuring the attack `{}`", attack.name()));
        let settling = SETTLING.min(self.duration);
        let begins = watch.now();
        let quiet_from = begins + micros(self.warmup);
        let quiet_until = quiet_from + micros(self.duration);
        let busy_from = quiet_until + micros(settling);
        let busy_until = busy_from + micros(self.duration);
        let attacked_from = busy_until + 2 * micros(settling);
        let attacked_until = attacked_from + micros(self.duration);
        let load = Load {
            address: gateway.address,
            key,
            connections: usize::from(self.connections),
            rate: Some(rate),
            size: self.size as usize,
            first: 0,
            begins,
            measured_from: quiet_from,
            end: End::At(attacked_until),
        };
        let working = tokio::spawn(load.run(watch, Arc::default()));
        let mut host = Host::look();
        let quiet_memory_bytes = most_memory(&gateway, watch.instant(quiet_until)).await?;
        let quiet = host.share();
        let busy = Busy::begin();
        tokio::time::sleep_until(watch.instant(busy_until).into()).await;
        drop(busy);
        let busy = host.share();
        tokio::time::sleep(settling).await;
        assault.begin(2.0 * rate)?;
        let mut host = Host::look();
        let attacked_memory_bytes = most_memory(&gateway, watch.instant(attacked_until)).await?;
        let taken_by_host = Taken { quiet, busy, attacked: host.share() };
        let posted = working.await?;
        assault.end();
        let acknowledged = posted.iter().filter(|posted| posted.answer == Answer::Acknowledged);
        drain(ledger, acknowledged.clone().map(|posted| posted.number)).await;
        let faults = assault.faults().await?;
        drop(assault);
        gateway.stop().await?;

        let contrast = |subscription| {
            let times = |from, until| ledger.times_of(Some(subscription), from, until);
            Contrast::of(
                times(quiet_from, quiet_until),
                times(busy_from, busy_until),
                times(attacked_from, attacked_until),
            )
        };
        let count = |wanted: fn(&Answer) -> bool| posted.iter().filter(|posted| wanted(&posted.answer)).count() as u64;
        Ok(Endured {
            attack: attack.name(),
            plain: contrast(0),
            through_plugin: contrast(1),
            taken_by_host,
            quiet_memory_bytes,
            attacked_memory_bytes,
            acknowledged: acknowledged.clone().count() as u64,
            refused: count(|answer| matches!(answer, Answer::Refused(_))),
            unanswered: count(|answer| *answer == Answer::Nothing),
            lost: ledger.missing(acknowledged.map(|posted| posted.number)),
            faults,
        })
    }
}

/// The most memory that a gateway is seen with until then.
async fn most_memory(gateway: &Process, until: Instant) -> anyhow::Result<u64> {
    let mut most = gateway.memory()?;
    while Instant::now() < until {
        tokio::time::sleep(LOOK).await;
        most = most.max(gateway.memory()?);
    }
    Ok(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_rounds_the_middle_p99_of_each_part_counts() {
        let round = |quiet, attacked| Contrast::of(vec![quiet], vec![], vec![attacked]);
        // The third one's pause is in its quiet part, the first one's in the attacked.
        let rounds = [round(100, 900), round(100, 150), round(800, 200), round(120, 80)];
        assert_eq!(ratios(&rounds), "1.50, - of busy");
        assert_eq!(ratios(&rounds[..3]), "2.00, - of busy");
        assert_eq!(ratios(&[]), "-, - of busy");
    }

    #[test]
    fn an_attack_is_shown_beside_the_quiet_before_it() {
        let siege = Siege {
            machine: Machine { cores: 2, cpu: "A CPU".to_owned(), kernel: "6.1".to_owned() },
            load: "64 connections".to_owned(),
            attacks: vec![Endured {
                attack: "reset".to_owned(),
                plain: Contrast::of(vec![1_000, 2_000], vec![1_500], vec![3_000]),
                through_plugin: Contrast::of(vec![1_000], vec![], vec![]),
                taken_by_host: Taken { quiet: 0.012, busy: 0.1, attacked: 0.0 },
                quiet_memory_bytes: 50 << 20,
                attacked_memory_bytes: 60 << 20,
                acknowledged: 3,
                refused: 0,
                unanswered: 0,
                lost: 1,
                faults: [("unknown (reset)".to_owned(), 7), ("posted: 202 Accepted".to_owned(), 2)].into(),
            }],
        };
        let table = siege.attacks[0].table();
        for line in [
            "event to delivery  p50 1.00 ms, p99 2.00 ms, max 2.00 ms",
            "  machine busy     p50 1.50 ms, p99 1.50 ms, max 1.50 ms",
            "  attacked         p50 3.00 ms, p99 3.00 ms, max 3.00 ms (p99 times 1.50, 2.00 of busy)",
            "through a plugin   p50 1.00 ms, p99 1.00 ms, max 1.00 ms",
            "  attacked         nothing to measure (p99 times -, - of busy)",
            "taken by the host  1.2 % of the cores' time; busy 10.0 %, attacked 0.0 %",
            "gateway memory     50 MiB at most; attacked 60 MiB",
            "events             3 acknowledged, 0 refused, 0 unanswered, 1 lost",
            "attacker's         2 posted: 202 Accepted; 7 unknown (reset)",
        ] {
            assert!(table.lines().any(|found| found == line), "{line}\n{table}");
        }
        let summary = siege.table();
        assert!(summary.contains("reset 1.50, 2.00 of busy (through a plugin -, - of busy)"), "{summary}");
        let verdict = "verdict            at twice the quiet p99 or more: none; at twice the busy one: reset (2.00)";
        assert!(summary.lines().any(|found| found == verdict), "{summary}");
        assert_eq!(siege.shortfall().as_deref(), Some("reset: 1 deliveries of acknowledged events did not arrive"));
    }
}
