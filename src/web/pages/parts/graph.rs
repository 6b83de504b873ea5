//! A series as an area graph, and as a spark in a table. Drawn here, as SVG paths; nothing is
//! loaded. A gap in the series is a gap in the line: what was not measured is not invented.

use std::borrow::Cow;
use std::fmt::Write;

use askama::Template;
use askama::filters::HtmlSafe;

use super::Tone;

/// Size of the drawing in its own units; the page stretches it.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 72.0;

/// A figure over time.
#[derive(Clone, Debug, Template)]
#[template(path = "parts/graph.html")]
pub struct Graph {
    /// "CPU".
    pub name: String,
    /// The figure now: "12 %".
    pub now: String,
    /// What the figure is of: "of 2 cores".
    pub of: String,
    /// "peak 64 %".
    pub peak: String,
    /// Left end of the axis: "24 h ago".
    pub from: String,
    /// "week"; empty where the page tells it of all its graphs.
    over: &'static str,
    /// Colour of the line; green when nothing is said.
    pub tone: Option<Tone>,
    /// Where something happened (a deploy), as a share of the width.
    marks: Vec<f64>,
    line: String,
    area: String,
}

impl HtmlSafe for Graph {}

impl Graph {
    /// Draws `series`, evenly spaced, oldest first. `ceiling` is what full height means; without
    /// one the highest value is, a little below the top.
    pub fn new(name: &str, series: &[Option<f64>], ceiling: Option<f64>) -> Self {
        let top = top_of(series, ceiling);
        let series = &*thinned(series);
        Self {
            name: name.to_owned(),
            now: String::new(),
            of: String::new(),
            peak: String::new(),
            from: String::new(),
            over: "",
            tone: None,
            marks: Vec::new(),
            line: path(series, top, HEIGHT, false),
            area: path(series, top, HEIGHT, true),
        }
    }

    /// The same with its figure now and what it is of.
    #[must_use]
    pub fn now(mut self, now: impl Into<String>, of: impl Into<String>) -> Self {
        self.now = now.into();
        self.of = of.into();
        self
    }

    /// The same with its axis in words.
    #[must_use]
    pub fn axis(mut self, from: impl Into<String>, peak: impl Into<String>) -> Self {
        self.from = from.into();
        self.peak = peak.into();
        self
    }

    /// The same with the range it is drawn over: "week".
    #[must_use]
    pub fn over(mut self, range: &'static str) -> Self {
        self.over = range;
        self
    }

    /// The same in another colour.
    #[must_use]
    pub fn tone(mut self, tone: Tone) -> Self {
        self.tone = Some(tone);
        self
    }

    /// The same with marks at these shares of the width.
    #[must_use]
    pub fn marks(mut self, marks: &[f64]) -> Self {
        self.marks = marks.iter().map(|share| share * WIDTH).collect();
        self
    }

    fn class(&self) -> &'static str {
        self.tone.map_or("", Tone::class)
    }

    /// What a screen reader says of the drawing.
    fn summary(&self) -> String {
        let name = match self.over {
            "" => self.name.clone(),
            over => format!("{}, last {over}", self.name),
        };
        if self.line.is_empty() {
            return format!("{name}: nothing measured yet");
        }
        format!(
            "{name}: now {}, {}, since {}",
            self.now, self.peak, self.from
        )
    }
}

/// A small line without axis.
#[derive(Clone, Debug, Default, Template)]
#[template(
    source = r#"<svg class="spark" viewBox="0 0 300 24" preserveAspectRatio="none" aria-hidden="true"><path class="plot-area" d="{{ area }}"/><path class="plot-line" d="{{ line }}"/></svg>"#,
    ext = "html"
)]
pub struct Spark {
    line: String,
    area: String,
}

impl HtmlSafe for Spark {}

impl Spark {
    /// Draws `series`.
    pub fn new(series: &[Option<f64>]) -> Self {
        let top = top_of(series, None);
        Self {
            line: path(series, top, 24.0, false),
            area: path(series, top, 24.0, true),
        }
    }
}

fn top_of(series: &[Option<f64>], ceiling: Option<f64>) -> f64 {
    let highest = series.iter().flatten().copied().fold(0.0, f64::max);
    let top = ceiling.map_or(highest * 1.08, |c| c.max(highest));
    if top > 0.0 { top } else { 1.0 }
}

/// More points than these are not told apart on a page, and a year of hours would be a megabyte of them.
const POINTS: usize = 400;

/// The series in at most [`POINTS`] points: of those that fall together the highest, so that no peak is lost.
fn thinned(series: &[Option<f64>]) -> Cow<'_, [Option<f64>]> {
    if series.len() <= POINTS {
        return Cow::Borrowed(series);
    }
    let together = series.chunks(series.len().div_ceil(POINTS));
    let highest = together.map(|some| some.iter().flatten().copied().reduce(f64::max));
    Cow::Owned(highest.collect())
}

/// The path of a line, or of the area below it: one piece for each run without a gap.
#[allow(clippy::cast_precision_loss)]
fn path(series: &[Option<f64>], top: f64, height: f64, area: bool) -> String {
    let step = WIDTH / (series.len().saturating_sub(1).max(1)) as f64;
    let mut out = String::new();
    let mut run: Vec<(f64, f64)> = Vec::new();
    for (index, value) in series.iter().enumerate() {
        match value {
            Some(value) => {
                let y = height - (value / top).clamp(0.0, 1.0) * (height - 1.0) - 0.5;
                run.push((index as f64 * step, y));
            }
            None => close_run(&mut out, &mut run, height, area),
        }
    }
    close_run(&mut out, &mut run, height, area);
    out
}

fn close_run(out: &mut String, run: &mut Vec<(f64, f64)>, height: f64, area: bool) {
    // A single point has no line; a short dash shows that it is there.
    if let [(x, y)] = run[..] {
        run.push(((x + 1.0).min(WIDTH), y));
        if x >= WIDTH {
            run[0].0 = WIDTH - 1.0;
        }
    }
    for (index, (x, y)) in run.iter().enumerate() {
        let command = if index == 0 { 'M' } else { 'L' };
        // Writing into a String does not fail.
        write!(out, "{command}{x:.1} {y:.1}").unwrap_or_default();
    }
    if let (true, Some(first), Some(last)) = (area, run.first(), run.last()) {
        write!(out, "L{:.1} {height}L{:.1} {height}Z", last.0, first.0).unwrap_or_default();
    }
    run.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f7_a_gap_in_the_series_is_a_gap_in_the_line() {
        let line = path(
            &[Some(0.0), Some(1.0), None, Some(1.0), Some(0.0)],
            1.0,
            72.0,
            false,
        );
        assert_eq!(line, "M0.0 71.5L75.0 0.5M225.0 0.5L300.0 71.5");
    }

    #[test]
    fn f7_an_area_closes_on_the_ground() {
        let area = path(&[Some(1.0), Some(1.0)], 1.0, 72.0, true);
        assert_eq!(area, "M0.0 0.5L300.0 0.5L300.0 72L0.0 72Z");
    }

    #[test]
    fn f7_nothing_measured_draws_nothing_and_says_so() {
        let graph = Graph::new("CPU", &[None, None], Some(1.0));
        assert!(graph.line.is_empty());
        assert_eq!(graph.summary(), "CPU: nothing measured yet");
    }

    #[test]
    fn f7_a_year_of_hours_is_few_points_and_keeps_its_peak_and_its_gap() {
        let mut hours = vec![Some(1.0); 365 * 24];
        hours[4_000] = Some(9.0);
        hours[6_000..7_000].fill(None);
        let few = thinned(&hours);
        assert!((POINTS / 2..=POINTS).contains(&few.len()), "{}", few.len());
        assert_eq!(few.iter().filter(|p| **p == Some(9.0)).count(), 1);
        assert!(few.contains(&None));
        let day = vec![Some(1.0), None, Some(2.0)];
        assert_eq!(*thinned(&day), day);
    }

    #[test]
    fn f7_one_point_is_seen() {
        assert!(!path(&[None, Some(1.0)], 1.0, 72.0, false).is_empty());
    }
}
