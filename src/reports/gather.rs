//! From the tables to a [`Report`]: reads the sums, then puts them together.

use super::lifts;
use super::model::{
    Attributed, Bounces, ChannelReport, Funnel, Hits, HourReport, LinkReport, MeasureReport, Report, Responses, SiteReport, VariantReport,
    refusals,
};
use crate::literals::{Duration, minor_digits};
use crate::schedule;
use crate::store::conversions::{self, Converted, Measures};
use crate::store::reports::{
    ConvertedPeople, CountedCampaign, CountedRun, Drawn, HourTally, LedgerSum, NamedArm, SiteTally, StoredLink, StoredMeasure,
};
use crate::store::tallies::{Metric, Tally, family, hour};
use crate::store::{Error, Store, from_micros, micros};
use crate::types::{Channel, Class, MessageState, Refusal, RunId, Time};
use chrono::{DateTime, TimeDelta};
use chrono_tz::Tz;
use std::collections::{BTreeMap, BTreeSet};

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The number of one run; else all.
    pub run: Option<i64>,
    /// The figures as they stood then; else all there are.
    pub as_of: Option<Time>,
    pub now: Time,
    /// The workspace's zone, and its measures with their conditions.
    pub measures: &'a Measures,
}

impl Question<'_> {
    fn zone(&self) -> Tz {
        self.measures.zone
    }
}

/// The report of one campaign.
pub async fn gather(store: &Store, campaign: &CountedCampaign, question: &Question<'_>) -> Result<Report, Error> {
    let facts = Facts::read(store, campaign, question).await?;
    Ok(facts.report(question))
}

/// Everything that is read, before it is put together.
struct Facts {
    campaign: CountedCampaign,
    runs: Vec<CountedRun>,
    arms: Arms,
    ledger: Vec<LedgerSum>,
    drawn: Vec<Drawn>,
    converted: Vec<ConvertedPeople>,
    worth: Vec<Converted>,
    attributed: Vec<conversions::Attributed>,
    measures: Vec<StoredMeasure>,
    links: Vec<StoredLink>,
    tallies: Vec<Tally>,
    hours: Vec<HourTally>,
    sites: Vec<SiteTally>,
}

/// Names of arms by run and number.
#[derive(Default)]
pub(super) struct Arms(BTreeMap<(i64, i16), (String, bool)>);

impl Arms {
    fn of(rows: Vec<NamedArm>) -> Self {
        let named = |row: NamedArm| {
            let held_out = row.held_out != 0;
            ((row.run_id, row.arm), (if held_out { HELD_OUT.to_string() } else { row.name }, held_out))
        };
        Arms(rows.into_iter().map(named).collect())
    }

    /// The name, and whether it is held out; `None` for those refused before anything was drawn.
    pub(super) fn name(&self, run: i64, arm: i16) -> Option<(&str, bool)> {
        match self.0.get(&(run, arm)) {
            Some((name, held_out)) => Some((name, *held_out)),
            None if arm < 0 => None,
            None if arm == 0 => Some((HELD_OUT, true)),
            None => Some((lifts::ALL, false)),
        }
    }

    /// Names in the order of the file, held out first; each once.
    pub(super) fn names(&self, runs: &BTreeSet<i64>) -> Vec<(String, bool)> {
        let mut names: Vec<(String, bool)> = Vec::new();
        for ((run, _), name) in &self.0 {
            if runs.contains(run) && !names.contains(name) {
                names.push(name.clone())
            }
        }
        names.sort_by_key(|(_, held_out)| !held_out);
        names
    }
}

/// The ledger's sums, and who was drawn. The sums of runs that are over are kept for the next report.
async fn ledger(store: &Store, runs: &[CountedRun], until: Option<Time>) -> Result<(Vec<LedgerSum>, Vec<Drawn>), Error> {
    let (settled, open): (Vec<CountedRun>, Vec<CountedRun>) = runs.iter().cloned().partition(|run| run.settled != 0 && until.is_none());
    let mut sums = store.ledger_sums(&open, until).await?;
    if until.is_none() {
        for run in &open {
            store.settle(run, &sums).await?;
        }
    }
    sums.extend(store.settled_sums(&settled).await?);
    let by_trigger: Vec<CountedRun> = runs.iter().filter(|run| run.by_trigger != 0).cloned().collect();
    let mut drawn = if by_trigger.is_empty() { Vec::new() } else { store.drawn(&by_trigger).await? };
    let mut people: BTreeMap<(i64, i16), i64> = BTreeMap::new();
    for sum in sums.iter().filter(|sum| sum.arm >= 0 && by_trigger.iter().all(|run| run.id != sum.run_id)) {
        *people.entry((sum.run_id, sum.arm)).or_default() += sum.messages;
    }
    drawn.extend(people.into_iter().map(|((run_id, arm), customers)| Drawn { run_id, arm, customers }));
    Ok((sums, drawn))
}

/// Who converted, and what it was worth. Where all of it is in one currency, nobody is counted twice.
async fn converted(
    store: &Store,
    runs: &[CountedRun],
    ids: &[RunId],
    question: &Question<'_>,
    end: Option<Time>,
) -> Result<(Vec<ConvertedPeople>, Vec<Converted>), Error> {
    let worth = store.conversions(ids, question.measures, end).await?;
    let mut currencies: BTreeMap<(i64, i16), &str> = BTreeMap::new();
    let is_one = worth.iter().all(|row| *currencies.entry((row.run_id, row.measure)).or_insert(&row.currency) == row.currency);
    let people = match question.as_of {
        None if is_one => worth
            .iter()
            .map(|row| ConvertedPeople { run_id: row.run_id, measure: row.measure, arm: row.arm, customers: row.customers })
            .collect(),
        until => store.converted_people(runs, until).await?,
    };
    Ok((people, worth))
}

/// What those who are kept out are called.
pub const HELD_OUT: &str = "held_out";

impl Facts {
    async fn read(store: &Store, campaign: &CountedCampaign, question: &Question<'_>) -> Result<Facts, Error> {
        let until = question.as_of;
        let runs = store.counted_runs(campaign.id, question.run, until).await?;
        let ids: Vec<RunId> = runs.iter().map(|run| RunId(run.id)).collect();
        // Conversions and attribution take their end as excluded, a report includes the instant itself.
        let end = until.and_then(|until| until.checked_add_signed(TimeDelta::microseconds(1)));
        let cut = until.map(|until| hour(micros(until), question.zone()));
        // Two that read much, side by side.
        let ((ledger, drawn), (converted, worth)) =
            tokio::try_join!(ledger(store, &runs, until), converted(store, &runs, &ids, question, end))?;
        let mut facts = Facts {
            campaign: campaign.clone(),
            arms: Arms::of(store.named_arms(&runs).await?),
            ledger,
            drawn,
            converted,
            worth,
            attributed: store.attributed(&ids, question.measures, end).await?,
            measures: store.measures_of(&runs).await?,
            links: store.links_of(&runs).await?,
            tallies: store.tallies(&ids, cut).await?,
            hours: store.tallies_by_hour(&runs, cut).await?,
            sites: store.tallies_by_site(&runs, cut).await?,
            runs,
        };
        if let Some(until) = until {
            facts.add_the_last_hour(store, until, question.zone()).await?;
        }
        Ok(facts)
    }

    async fn add_the_last_hour(&mut self, store: &Store, until: Time, zone: Tz) -> Result<(), Error> {
        for (key, count) in store.counts_of_the_hour(&self.runs, until, zone).await? {
            self.hours.push(HourTally { metric: key.metric, hour: key.hour, count });
            self.sites.push(SiteTally { metric: key.metric, site: key.site, count });
            self.tallies.push(Tally { run_id: key.run, step: key.step, arm: key.arm, metric: key.metric, link: key.link, count });
        }
        Ok(())
    }

    fn report(&self, question: &Question) -> Report {
        let times = || self.runs.iter().map(|run| from_micros(run.due_at));
        let funnel = self.funnel();
        debug_assert!(funnel.adds_up(), "{funnel:?}");
        Report {
            campaign: self.campaign.key.clone(),
            title: if self.campaign.title.is_empty() { self.campaign.key.clone() } else { self.campaign.title.clone() },
            class: Class::from_code(self.campaign.class).unwrap_or(Class::Advertising),
            as_of: question.as_of.unwrap_or(question.now),
            runs: self.runs.iter().map(|run| run.number as i32).collect(),
            first_due: times().min(),
            last_due: times().max(),
            funnel,
            responses: self.responses(),
            attributed: self.attributed(&question.measures.currency),
            measures: self.measures(&question.measures.currency),
            variants: self.variants(),
            links: self.links(),
            sites: self.sites(),
            hours: self.hours(question.zone()),
            channels: self.channels(),
        }
    }

    fn funnel(&self) -> Funnel {
        let mut funnel = Funnel::default();
        let mut refused = BTreeMap::new();
        for row in &self.ledger {
            let count = row.messages.max(0) as u64;
            funnel.selected += count;
            let state = MessageState::from_code(row.state);
            if state == Some(MessageState::Refused) {
                let word = Refusal::from_code(row.reason).map_or("other", Refusal::word);
                *refused.entry(word.to_string()).or_insert(0) += count;
                continue;
            }
            funnel.messages += count;
            *match state {
                Some(MessageState::Held) => &mut funnel.held,
                Some(MessageState::Uncertain) => &mut funnel.uncertain,
                Some(MessageState::Accepted) => &mut funnel.accepted,
                Some(MessageState::Failed) => &mut funnel.failed,
                Some(MessageState::Expired) => &mut funnel.expired,
                Some(MessageState::Cancelled) => &mut funnel.cancelled,
                _ => &mut funnel.waiting,
            } += count;
            funnel.bounced += row.bounced.max(0) as u64;
            funnel.confirmed += row.confirmed.max(0) as u64;
        }
        funnel.refused = refusals(&refused);
        funnel.delivered = funnel.accepted.saturating_sub(funnel.bounced);
        funnel
    }

    /// The count of a metric over what passes the test.
    fn count(&self, metric: Metric, of: impl Fn(&Tally) -> bool) -> u64 {
        let rows = self.tallies.iter().filter(|tally| tally.metric == metric.code() && of(tally));
        rows.map(|tally| tally.count).sum::<i64>().max(0) as u64
    }

    fn opens(&self, of: impl Fn(&Tally) -> bool + Copy) -> Hits {
        let count = |metric| self.count(metric, of);
        Hits { all: count(Metric::Opens), human: count(Metric::OpensHuman), unique: count(Metric::OpensUnique) }
    }

    fn clicks(&self, of: impl Fn(&Tally) -> bool + Copy) -> Hits {
        let count = |metric| self.count(metric, of);
        Hits { all: count(Metric::Clicks), human: count(Metric::ClicksHuman), unique: count(Metric::ClicksUnique) }
    }

    fn responses(&self) -> Responses {
        let count = |metric| self.count(metric, |_| true);
        Responses {
            opens: self.opens(|_| true),
            clicks: self.clicks(|_| true),
            unsubscribes: count(Metric::Unsubscribes),
            complaints: count(Metric::Complaints),
            bounces: Bounces { hard: count(Metric::BouncesHard), soft: count(Metric::BouncesSoft), blocked: count(Metric::BouncesBlocked) },
            replies: count(Metric::Replies),
        }
    }

    /// Like measures of all versions together: the event, whether it is the goal, the property with the money, and the window.
    fn measures(&self, currency: &str) -> Vec<MeasureReport> {
        let mut seen = BTreeSet::new();
        let mut reports = Vec::new();
        for measure in &self.measures {
            if !seen.insert((measure.number == 0, &measure.event, &measure.value, &measure.within)) {
                continue;
            }
            let alike = |other: &&StoredMeasure| {
                (other.number == 0, &other.event, &other.value, &other.within)
                    == (measure.number == 0, &measure.event, &measure.value, &measure.within)
            };
            let numbers: BTreeMap<i64, i16> = self.measures.iter().filter(alike).map(|like| (like.version_id, like.number)).collect();
            let number_in: BTreeMap<i64, i16> = self.runs.iter().filter_map(|run| Some((run.id, *numbers.get(&run.version_id)?))).collect();
            reports.extend(self.measure(measure, &number_in, currency));
        }
        reports.sort_by_key(|report| !report.goal);
        reports
    }

    /// One block a currency: who converted is the same in each, the values are those in that currency.
    fn measure(&self, measure: &StoredMeasure, number_in: &BTreeMap<i64, i16>, workspace: &str) -> Vec<MeasureReport> {
        let runs: BTreeSet<i64> = number_in.keys().copied().collect();
        let is_it = |run: i64, number: i16| number_in.get(&run) == Some(&number);
        let mut currencies: BTreeSet<&str> = BTreeSet::new();
        if measure.value.is_some() {
            let worth = self.worth.iter().filter(|row| is_it(row.run_id, row.measure));
            currencies.extend(worth.map(|row| row.currency.as_str()).filter(|currency| !currency.is_empty()));
        }
        if currencies.is_empty() {
            currencies.insert(workspace);
        }
        let block = |currency: &str| {
            let mut arms: Vec<lifts::ArmSums> = self.arms.names(&runs).into_iter().map(lifts::ArmSums::named).collect();
            for row in self.drawn.iter().filter(|row| runs.contains(&row.run_id)) {
                self.arm(&mut arms, row.run_id, row.arm, |arm| arm.customers += row.customers.max(0) as u64);
            }
            for row in self.converted.iter().filter(|row| is_it(row.run_id, row.measure)) {
                self.arm(&mut arms, row.run_id, row.arm, |arm| arm.converted += row.customers.max(0) as u64);
            }
            let unit = 10f64.powi(minor_digits(currency).unwrap_or(2) as i32);
            for row in self.worth.iter().filter(|row| is_it(row.run_id, row.measure) && row.currency == currency) {
                self.arm(&mut arms, row.run_id, row.arm, |arm| {
                    arm.value += row.value as f64 / unit;
                    arm.squares += row.squares / (unit * unit);
                });
            }
            MeasureReport {
                event: measure.event.clone(),
                goal: measure.number == 0,
                within_seconds: Duration::read(&measure.within).map_or(0, Duration::seconds),
                currency: currency.to_string(),
                lifts: lifts::lifts(&arms, measure.value.is_some()),
                arms: arms.iter().map(lifts::ArmSums::shown).collect(),
            }
        };
        currencies.into_iter().map(block).collect()
    }

    fn arm(&self, arms: &mut Vec<lifts::ArmSums>, run: i64, arm: i16, change: impl FnOnce(&mut lifts::ArmSums)) {
        let Some((name, held_out)) = self.arms.name(run, arm) else { return };
        let index = arms.iter().position(|known| known.name == name && known.held_out == held_out).unwrap_or_else(|| {
            arms.push(lifts::ArmSums::named((name.to_string(), held_out)));
            arms.len() - 1
        });
        if let Some(arm) = arms.get_mut(index) {
            change(arm)
        }
    }

    /// One row a measured event and currency; an event that brings no money has none.
    fn attributed(&self, workspace: &str) -> Vec<Attributed> {
        let version: BTreeMap<i64, i64> = self.runs.iter().map(|run| (run.id, run.version_id)).collect();
        let measure_of = |run: i64, number: i16| {
            self.measures.iter().find(|measure| Some(&measure.version_id) == version.get(&run) && measure.number == number)
        };
        let mut sums: BTreeMap<(i16, &str, &str), (u64, i64)> = BTreeMap::new();
        for row in &self.attributed {
            let Some(measure) = measure_of(row.run.0, row.measure) else { continue };
            let sum = sums.entry((row.measure, &measure.event, &row.currency)).or_default();
            *sum = (sum.0 + row.conversions.max(0) as u64, sum.1.saturating_add(row.value));
        }
        for measure in &self.measures {
            if !sums.keys().any(|(_, event, _)| *event == measure.event) {
                let currency = if measure.value.is_some() { workspace } else { "" };
                sums.entry((measure.number, &measure.event, currency)).or_default();
            }
        }
        let shown = |((_, event, currency), (conversions, value)): ((i16, &str, &str), (u64, i64))| Attributed {
            event: event.to_string(),
            conversions,
            currency: (!currency.is_empty()).then(|| currency.to_string()),
            value: super::lifts::to_cents(value as f64 / 10f64.powi(minor_digits(currency).unwrap_or(2) as i32)),
        };
        sums.into_iter().map(shown).collect()
    }

    fn variants(&self) -> Vec<VariantReport> {
        let mut names: Vec<String> = Vec::new();
        let runs: BTreeSet<i64> = self.runs.iter().map(|run| run.id).collect();
        names.extend(self.arms.names(&runs).into_iter().filter(|(_, held_out)| !held_out).map(|(name, _)| name));
        let is = |run: i64, arm: i16, name: &str| self.arms.name(run, arm).is_some_and(|(known, held_out)| known == name && !held_out);
        let variant = |name: String| {
            let rows = || self.ledger.iter().filter(|row| row.state != MessageState::Refused.code() && is(row.run_id, row.arm, &name));
            let accepted: i64 = rows().filter(|row| row.state == MessageState::Accepted.code()).map(|row| row.messages).sum();
            let bounced: i64 = rows().map(|row| row.bounced).sum();
            let of = |tally: &Tally| is(tally.run_id, tally.arm, &name);
            VariantReport {
                messages: rows().map(|row| row.messages).sum::<i64>().max(0) as u64,
                delivered: (accepted - bounced).max(0) as u64,
                opens: self.opens(of),
                clicks: self.clicks(of),
                unsubscribes: self.count(Metric::Unsubscribes, of),
                complaints: self.count(Metric::Complaints, of),
                variant: name.clone(),
            }
        };
        names.into_iter().map(variant).collect()
    }

    /// Links with the same target are one, in the order of their numbers.
    fn links(&self) -> Vec<LinkReport> {
        let version: BTreeMap<i64, i64> = self.runs.iter().map(|run| (run.id, run.version_id)).collect();
        let mut reports: Vec<LinkReport> = Vec::new();
        for link in &self.links {
            if reports.iter().any(|report| report.target == link.target) {
                continue;
            }
            let numbers: BTreeSet<(i64, i32)> =
                self.links.iter().filter(|other| other.target == link.target).map(|other| (other.version_id, other.number)).collect();
            let of = |tally: &Tally| version.get(&tally.run_id).is_some_and(|version| numbers.contains(&(*version, tally.link)));
            let count = |metric| self.count(metric, of);
            let clicks = Hits { all: count(Metric::Clicks), human: count(Metric::ClicksHuman), unique: count(Metric::ClicksUniqueByLink) };
            reports.push(LinkReport { number: link.number, target: link.target.clone(), clicks });
        }
        reports
    }

    fn sites(&self) -> Vec<SiteReport> {
        let mut sites: BTreeMap<String, SiteReport> = BTreeMap::new();
        for row in self.ledger.iter().filter(|row| row.state != MessageState::Refused.code() && !row.site.is_empty()) {
            let site = site(&mut sites, family(&row.site));
            let accepted = row.state == MessageState::Accepted.code();
            site.messages += row.messages.max(0) as u64;
            site.bounced += row.bounced.max(0) as u64;
            site.delivered += if accepted { (row.messages - row.bounced).max(0) as u64 } else { 0 };
        }
        for row in self.sites.iter().filter(|row| !row.site.is_empty()) {
            let (count, metric) = (row.count.max(0) as u64, row.metric);
            let site = site(&mut sites, &row.site);
            match metric {
                metric if metric == Metric::OpensUnique.code() => site.opens_unique += count,
                metric if metric == Metric::ClicksUnique.code() => site.clicks_unique += count,
                metric if metric == Metric::Complaints.code() => site.complaints += count,
                _ => {}
            }
        }
        let mut sites: Vec<SiteReport> = sites.into_values().collect();
        sites.sort_by(|one, other| (other.messages, &one.site).cmp(&(one.messages, &other.site)));
        sites
    }

    fn hours(&self, zone: Tz) -> Vec<HourReport> {
        let mut hours: BTreeMap<i32, (i64, i64)> = BTreeMap::new();
        for row in &self.hours {
            let sums = hours.entry(row.hour).or_default();
            if row.metric == Metric::OpensHuman.code() {
                sums.0 += row.count
            } else if row.metric == Metric::ClicksHuman.code() {
                sums.1 += row.count
            }
        }
        let report = |(hour, (opens, clicks)): (i32, (i64, i64))| {
            let local = DateTime::from_timestamp(i64::from(hour) * 3600, 0)?.naive_utc();
            let (opens, clicks) = (opens.max(0) as u64, clicks.max(0) as u64);
            (opens + clicks > 0).then_some(HourReport { at: schedule::resolve(zone, local), opens, clicks })
        };
        hours.into_iter().filter_map(report).collect()
    }

    fn channels(&self) -> Vec<ChannelReport> {
        let mut channels: BTreeMap<i16, (u64, u64)> = BTreeMap::new();
        for row in self.ledger.iter().filter(|row| row.state != MessageState::Refused.code()) {
            let sums = channels.entry(row.channel).or_default();
            sums.0 += row.messages.max(0) as u64;
            sums.1 += if row.state == MessageState::Accepted.code() { row.messages.max(0) as u64 } else { 0 };
        }
        let report = |(channel, (messages, accepted))| Some(ChannelReport { channel: Channel::from_code(channel)?, messages, accepted });
        channels.into_iter().filter_map(report).collect()
    }
}

fn site<'a>(sites: &'a mut BTreeMap<String, SiteReport>, name: &str) -> &'a mut SiteReport {
    sites.entry(name.to_string()).or_insert_with(|| SiteReport {
        site: name.to_string(),
        messages: 0,
        delivered: 0,
        bounced: 0,
        opens_unique: 0,
        clicks_unique: 0,
        complaints: 0,
    })
}
