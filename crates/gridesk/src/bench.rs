//! `gridesk bench`: how fast this is beside something bare that does the same, measured in the same run.
//!
//! Numbers of two machines, or of two hours on one, cannot be compared; two measured back to back can. So each run
//! measures a baseline and the figure one after the other, in turns first, and only their ratio is judged: the median of
//! the runs' ratios. What is bare is named with each case, and does equal work: the same number in flight, the same
//! flush to the same disk, the same bytes.
//!
//! The load generator is this process, with one thread for load on both sides, and what is measured are its children:
//! the zones' programs as `gridesk up` runs them ([`site`]), or the bare ones ([`peer`]). All of them share the machine's
//! cores, as a small utility's would.
use std::{fmt, io::Write, path::PathBuf, time::Duration};

use runtime::shutdown::Shutdown;
use serde::Serialize;

mod apply;
mod file;
mod fixture;
mod front;
mod load;
mod message;
mod miss;
pub mod peer;
mod pgbench;
mod read;
mod scale;
mod site;
mod write;

use site::Site;

use crate::up::engines::Engines;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    /// A message through both halves of the gate and back.
    Message,
    /// Reads at a center node, through edge and gate, and past the cache.
    Read,
    /// Writes accepted durably.
    Write,
    /// Operations applied by one applier.
    Apply,
    /// All that this build has, but for `memory` and `scale`.
    All,
    /// Files through the gate.
    File,
    /// What edge and gate keep in memory while 100 GiB of files flow; takes ten minutes.
    Memory,
    /// Flow control.
    Flow,
    /// Ten million accounts beside a hundred thousand, in a cluster; takes half an hour and 30 GB.
    Scale,
}

/// What to measure, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which benchmark.
    pub name: Name,
    /// The engines of a cluster; without them the data is in files of a folder.
    pub engines: Option<Engines>,
    /// How many runs, of which the median counts.
    pub runs: usize,
    /// How long each side of a run is measured.
    pub each: Duration,
    /// How many gates messages and files go over.
    pub gates: usize,
    /// For `scale`: how many accounts, beside a hundredth of them.
    pub accounts: u64,
    /// Where the temporary folder is made; `target` here, unless given.
    pub data: Option<PathBuf>,
}

/// One line of the result.
#[derive(Clone, Debug, Serialize)]
pub struct Case {
    /// The benchmark.
    pub bench: &'static str,
    /// The case.
    pub case: &'static str,
    /// The figure: the median of the runs.
    pub value: f64,
    /// Its unit, and the baseline's.
    pub unit: &'static str,
    /// What it is measured beside; none where the value itself is judged.
    pub baseline: Option<&'static str>,
    /// The baseline: the median of the runs.
    pub baseline_value: Option<f64>,
    /// The median of the runs' ratios of figure to baseline.
    pub ratio: Option<f64>,
    /// What the ratio (without one, the value) is to reach or stay under.
    pub goal: f64,
    /// Whether it does.
    pub ok: bool,
    /// What the data was kept in: `embedded` or `cluster`.
    pub profile: &'static str,
    /// Cores, processor, memory, kernel.
    pub machine: String,
    /// The commit that was checked out where it ran.
    pub commit: String,
    /// How many runs.
    pub runs: usize,
    #[serde(skip)]
    at_most: bool,
}

/// Why a figure could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// This build does not have it.
    #[error("not available in this build: {0}")]
    NotAvailable(&'static str),
    /// It was stopped.
    #[error("interrupted")]
    Interrupted,
    /// Nothing flushed there would reach a disk.
    #[error("{} is in memory, where a flush costs nothing: name a folder on a disk with --data", .0.display())]
    NoDisk(PathBuf),
    /// Something failed on the way.
    #[error("{doing}: {source}")]
    Failed {
        /// While doing what.
        doing: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

type Result<T> = std::result::Result<T, BenchError>;

/// Says what was being done when something failed.
trait During<T> {
    fn during(self, doing: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<Box<dyn std::error::Error + Send + Sync>>> During<T> for std::result::Result<T, E> {
    fn during(self, doing: impl Into<String>) -> Result<T> {
        self.map_err(|error| BenchError::Failed { doing: doing.into(), source: error.into() })
    }
}

/// What a case is judged by.
#[derive(Clone, Copy, Debug)]
enum Goal {
    RatioAtLeast(f64),
    RatioAtMost(f64),
    ValueAtMost(f64),
}

/// A case's runs: baseline, if it has one, and figure.
struct Series {
    case: &'static str,
    unit: &'static str,
    baseline: &'static str,
    goal: Goal,
    runs: Vec<(Option<f64>, f64)>,
}

impl Series {
    fn new(case: &'static str, unit: &'static str, baseline: &'static str, goal: Goal) -> Self {
        Series { case, unit, baseline, goal, runs: Vec::new() }
    }

    /// Takes a run in, and says so on standard error: some benchmarks take minutes.
    fn add(&mut self, base: Option<f64>, figure: f64) {
        let Series { case, unit, .. } = self;
        let beside = base.map_or_else(String::new, |base| format!(", beside {}", round(base)));
        let run = self.runs.len() + 1;
        writeln!(std::io::stderr().lock(), "{case}, run {run}: {} {unit}{beside}", round(figure)).ok();
        self.runs.push((base, figure));
    }

    fn judge(self, bench: &'static str, profile: &'static str, machine: &str, commit: &str) -> Case {
        let value = median(self.runs.iter().map(|(_, figure)| *figure));
        let bases: Vec<f64> = self.runs.iter().filter_map(|(base, _)| *base).collect();
        let ratios = self.runs.iter().filter_map(|(base, figure)| base.map(|base| figure / base));
        let ratio = (!bases.is_empty()).then(|| median(ratios));
        let judged = ratio.unwrap_or(value);
        let (goal, at_most) = match self.goal {
            Goal::RatioAtLeast(goal) => (goal, false),
            Goal::RatioAtMost(goal) | Goal::ValueAtMost(goal) => (goal, true),
        };
        Case {
            bench,
            case: self.case,
            value: round(value),
            unit: self.unit,
            baseline: ratio.map(|_| self.baseline),
            baseline_value: ratio.map(|_| round(median(bases.into_iter()))),
            ratio: ratio.map(round),
            goal,
            ok: if at_most { judged <= goal } else { judged >= goal },
            profile,
            machine: machine.to_owned(),
            commit: commit.to_owned(),
            runs: self.runs.len(),
            at_most,
        }
    }
}

impl fmt::Display for Case {
    /// A line of the table whose head is [`HEAD`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |number: Option<f64>| number.map_or_else(|| "–".to_owned(), |n| format!("{n}"));
        let goal = format!("{} {}", if self.at_most { "≤" } else { "≥" }, self.goal);
        write!(
            f,
            "{:<8} {:<12} {:>10} {:<4} {:>10} {:>8} {:>7}  {:<4} {}",
            self.bench,
            self.case,
            shown(Some(self.value)),
            self.unit,
            shown(self.baseline_value),
            shown(self.ratio),
            goal,
            if self.ok { "ok" } else { "MISS" },
            self.baseline.unwrap_or_default(),
        )
    }
}

/// The head of the table of [`Case`]s.
pub const HEAD: &str = "bench    case              value unit   baseline    ratio    goal  ok   beside";

/// Measures, and reports each case as soon as it is judged. Blocks.
///
/// # Errors
/// [`BenchError`]: the first figure that could not be taken. However low a ratio is, it is no error.
pub fn run(options: &Options, shutdown: &Shutdown, mut report: impl FnMut(&Case)) -> Result<()> {
    let profile = if options.engines.is_some() { "cluster" } else { "embedded" };
    if options.engines.is_some()
        && !matches!(options.name, Name::Read | Name::Write | Name::Apply | Name::Scale)
    {
        return Err(BenchError::NotAvailable(
            "--profile cluster for other than read, write, apply and scale",
        ));
    }
    type Bench = fn(&Site, &Options) -> Result<Vec<Series>>;
    const BENCHES: [(Name, &str, &[Bench]); 7] = [
        (Name::Message, "message", &[message::run]),
        (Name::File, "file", &[file::run, file::kills]),
        (Name::Memory, "memory", &[file::memory]),
        (Name::Read, "read", &[read::run, miss::run]),
        (Name::Write, "write", &[write::run]),
        (Name::Apply, "apply", &[apply::run]),
        (Name::Scale, "scale", &[scale::run]),
    ];
    let is_apart = |name: Name| matches!(name, Name::Memory | Name::Scale);
    let is_chosen = |name: Name| options.name == name || options.name == Name::All && !is_apart(name);
    let chosen: Vec<_> = BENCHES.iter().filter(|(name, ..)| is_chosen(*name)).collect();
    if chosen.is_empty() {
        return Err(BenchError::NotAvailable("bench flow"));
    }
    let (machine, commit) = (site::machine(), site::commit());
    for (_, bench, parts) in chosen {
        for part in *parts {
            let site = Site::new(options.data.as_deref(), options.engines.clone(), shutdown.clone())?;
            let measured = part(&site, options);
            // What fails while everything is being stopped fails because of that.
            site.check()?;
            for series in measured? {
                report(&series.judge(bench, profile, &machine, &commit));
            }
        }
    }
    Ok(())
}

/// One run after another, baseline and figure in turns first. Each of both gives one number for each series.
fn in_turns(
    site: &Site,
    options: &Options,
    series: &mut [Series],
    mut baseline: impl FnMut() -> Result<Vec<f64>>,
    mut figure: impl FnMut() -> Result<Vec<f64>>,
) -> Result<()> {
    for run in 0..options.runs {
        let (bases, figures) = if run % 2 == 0 {
            let bases = baseline()?;
            site.check()?;
            (bases, figure()?)
        } else {
            let figures = figure()?;
            site.check()?;
            (baseline()?, figures)
        };
        site.check()?;
        for ((one, base), figure) in series.iter_mut().zip(bases).zip(figures) {
            one.add(Some(base), figure);
        }
    }
    Ok(())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// Three digits behind the point below a hundred, else none: noise is not printed.
fn round(value: f64) -> f64 {
    if value.abs() < 100.0 { (value * 1000.0).round() / 1000.0 } else { value.round() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_judged_by_the_median_of_its_ratios() {
        let mut series = Series::new("center", "/s", "axum", Goal::RatioAtLeast(0.5));
        series.runs = vec![(Some(10.0), 4.0), (Some(20.0), 12.0), (Some(100.0), 90.0)];
        let case = series.judge("read", "embedded", "m", "c");
        assert_eq!((case.value, case.baseline_value, case.ratio), (12.0, Some(20.0), Some(0.6)));
        assert!(case.ok && case.runs == 3);
        let json = serde_json::to_value(&case).unwrap();
        assert_eq!(json["baseline"], "axum");
        assert!(json.get("at_most").is_none());
    }

    #[test]
    fn a_value_without_a_baseline_is_judged_itself() {
        let mut series = Series::new("accept-p99", "ms", "", Goal::ValueAtMost(20.0));
        series.runs = vec![(None, 30.0), (None, 10.0)];
        let case = series.judge("write", "embedded", "m", "c");
        assert_eq!((case.value, case.ratio, case.ok), (20.0, None, true));
        assert!(case.to_string().contains("≤ 20"));
    }

    #[test]
    fn what_this_build_does_not_have_it_says() {
        let options = |name| Options {
            name,
            engines: None,
            runs: 1,
            each: Duration::ZERO,
            gates: 1,
            accounts: 0,
            data: None,
        };
        for (name, says) in
            [(Name::Flow, "not available in this build: bench flow"), (Name::Scale, "--profile")]
        {
            let error = run(&options(name), &Shutdown::new(), |_| {}).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
