//! Charts as SVG made on the server, each with a table of the same numbers behind it.
//!
//! Text in an SVG shrinks with the picture, so a chart is drawn twice, once for a wide and once for a narrow page,
//! and the style sheet shows the one that fits. Colours come from the sheet; a chart must be readable without them,
//! so parts are stacked in a fixed order and differ in lightness.
use std::fmt::Write as _;

use crate::{format, words::SharedWords};

/// What a bar chart shows: columns from left to right, each with one or two parts, from the bottom up.
#[derive(Clone, Debug)]
pub struct Bars {
    /// Unique on its page; letters, digits and `-`.
    pub id: &'static str,
    /// What the chart is.
    pub title: String,
    /// What it says, for those who do not see it.
    pub description: String,
    /// The unit on the axis: `kWh`, `元`.
    pub unit: &'static str,
    /// How many of the columns' values make one unit of the axis: 1000 for Wh on an axis in kWh.
    pub scale: i64,
    /// The columns; at most [`MAX_COLUMNS`] are drawn.
    pub columns: Vec<Column>,
    /// The heading of the table.
    pub table_head: Vec<String>,
}

/// One column of a chart and row of its table.
#[derive(Clone, Debug, Default)]
pub struct Column {
    /// Under the column on a wide page; may be empty.
    pub label: String,
    /// Under the column on a narrow page; may be empty.
    pub label_narrow: String,
    /// Shown when pointed at, and read out where the column is a link.
    pub hint: String,
    /// The sizes of its parts from the bottom up; negative ones are drawn as nothing.
    pub parts: Vec<i64>,
    /// Whether it is the one the page is about.
    pub marked: bool,
    /// Written above the column.
    pub value_label: Option<String>,
    /// Whether its values are uncertain; drawn with a broken outline.
    pub uncertain: bool,
    /// Where it leads.
    pub link: Option<String>,
    /// Its row in the table; the first cell carries the link.
    pub row: Vec<String>,
}

/// More columns than these are not drawn.
pub const MAX_COLUMNS: usize = 62;

/// A chart, drawn.
#[derive(Clone, Debug)]
pub struct Chart {
    wide: String,
    narrow: String,
    table: String,
    id: &'static str,
    title: String,
    is_linked: bool,
}

struct Size {
    suffix: &'static str,
    class: &'static str,
    width: f64,
    height: f64,
    left: f64,
}

const WIDE: Size = Size { suffix: "w", class: "chart-wide", width: 720.0, height: 230.0, left: 48.0 };
const NARROW: Size = Size { suffix: "n", class: "chart-narrow", width: 360.0, height: 210.0, left: 40.0 };
const TOP: f64 = 30.0;
const BOTTOM: f64 = 26.0;
const RIGHT: f64 = 4.0;
/// Half of a character's width, as the sheet writes them at most, and a line's height.
const HALF_CHARACTER: f64 = 4.4;
const LINE: f64 = 16.0;

impl Bars {
    /// Draws the chart.
    pub fn draw(&self) -> Chart {
        Chart {
            wide: self.svg(&WIDE),
            narrow: self.svg(&NARROW),
            table: self.table(),
            id: self.id,
            title: self.title.clone(),
            is_linked: self.columns().iter().any(|column| column.link.is_some()),
        }
    }

    fn columns(&self) -> &[Column] {
        &self.columns[..self.columns.len().min(MAX_COLUMNS)]
    }

    fn svg(&self, size: &Size) -> String {
        let columns = self.columns();
        let highest = columns.iter().map(Column::height).max().unwrap_or(0) as f64 / self.scale.max(1) as f64;
        let ticks = ticks(highest);
        let top_value = ticks.last().copied().unwrap_or(1.0);
        let plot = size.height - TOP - BOTTOM;
        let floor = TOP + plot;
        let y_of = |value: f64| floor - plot * (value / top_value);

        let linked = columns.iter().any(|column| column.link.is_some());
        // Children of an image are not read out; where columns are links the chart is a group of them.
        let role = if linked { "group" } else { "img" };
        let (id, suffix) = (self.id, size.suffix);
        let mut svg = String::with_capacity(6 * 1024);
        out(
            &mut svg,
            format_args!(
                r#"<svg class="{}" viewBox="0 0 {} {}" role="{role}" aria-labelledby="{id}-{suffix}t {id}-{suffix}d"><title id="{id}-{suffix}t">{}</title><desc id="{id}-{suffix}d">{}</desc>"#,
                size.class,
                size.width,
                size.height,
                escape(&self.title),
                escape(&self.description),
            ),
        );
        out(&mut svg, format_args!(r#"<text class="c-unit" x="0" y="13">{}</text>"#, escape(self.unit)));
        for tick in &ticks {
            let y = y_of(*tick);
            let class = if *tick == 0.0 { "c-floor" } else { "c-grid" };
            out(
                &mut svg,
                format_args!(
                    r#"<path class="{class}" d="M{} {y:.1}H{}"/><text class="c-tick" x="{}" y="{:.1}">{}</text>"#,
                    size.left,
                    size.width - RIGHT,
                    size.left - 8.0,
                    y + 4.0,
                    number(*tick),
                ),
            );
        }
        let step = (size.width - size.left - RIGHT) / columns.len().max(1) as f64;
        let bar = (step * 0.68).min(34.0);
        for (index, column) in columns.iter().enumerate() {
            let middle = size.left + step * (index as f64 + 0.5);
            self.draw_column(&mut svg, column, Place { middle, step, bar, floor }, &y_of, size);
        }
        let tops: Vec<f64> =
            columns.iter().map(|column| y_of(column.height() as f64 / self.scale.max(1) as f64)).collect();
        self.draw_values(&mut svg, &tops, step, size);
        svg.push_str("</svg>");
        svg
    }

    /// Writes values above their columns: after all of these, so that none is drawn over them, and above every column
    /// and value that they reach over.
    fn draw_values(&self, svg: &mut String, tops: &[f64], step: f64, size: &Size) {
        let mut placed: Vec<(f64, f64, f64)> = Vec::new();
        for (index, column) in self.columns().iter().enumerate() {
            let Some(value) = &column.value_label else { continue };
            let half = value.chars().count() as f64 * HALF_CHARACTER;
            let middle = size.left + step * (index as f64 + 0.5);
            // Near an edge the text is held inside the picture.
            let x = middle.clamp(size.left + half, (size.width - half).max(size.left + half));
            let is_under =
                |other: usize| (size.left + step * (other as f64 + 0.5) - x).abs() < half + step * 0.34;
            let under = tops.iter().enumerate().filter(|(other, _)| is_under(*other));
            let mut y = under.map(|(_, top)| *top).fold(tops[index], f64::min) - 6.0;
            while let Some((_, _, other)) =
                placed.iter().find(|(at, wide, line)| (at - x).abs() < half + wide && (line - y).abs() < LINE)
            {
                y = other - LINE;
            }
            placed.push((x, half, y));
            out(svg, format_args!(r#"<text class="c-value" x="{x:.1}" y="{y:.1}">{}</text>"#, escape(value)));
        }
    }

    fn draw_column(
        &self,
        svg: &mut String,
        column: &Column,
        place: Place,
        y_of: &dyn Fn(f64) -> f64,
        size: &Size,
    ) {
        let Place { middle, step, bar, floor } = place;
        match &column.link {
            Some(link) => {
                out(svg, format_args!(r#"<a href="{}" aria-label="{}">"#, escape(link), escape(&column.hint)))
            }
            None => svg.push_str("<g>"),
        }
        // The hint as a pointer's words only: a link has it for its name already.
        let hidden = if column.link.is_some() { r#" aria-hidden="true""# } else { "" };
        out(svg, format_args!("<g{hidden}><title>{}</title>", escape(&column.hint)));
        let left = middle - step / 2.0;
        out(svg, format_args!(r#"<path class="c-hit" d="M{left:.1} {TOP}h{step:.1}V{floor}h-{step:.1}z"/>"#));
        let mut sum = 0;
        for (series, part) in column.parts.iter().enumerate().filter(|(_, part)| **part > 0) {
            let scale = self.scale.max(1) as f64;
            let bottom = y_of(sum as f64 / scale);
            sum += part;
            let top = y_of(sum as f64 / scale);
            let mut class = format!("s{series}");
            for (set, name) in [(column.marked, " marked"), (column.uncertain, " uncertain")] {
                class.push_str(if set { name } else { "" });
            }
            let is_last = column.parts.iter().skip(series + 1).all(|later| *later <= 0);
            let radius = if is_last { (bar / 5.0).min(4.0).min(bottom - top).max(0.0) } else { 0.0 };
            out(
                svg,
                format_args!(
                    r#"<path class="{class}" d="M{:.1} {bottom:.1}V{:.1}q0-{radius:.1} {radius:.1}-{radius:.1}h{:.1}q{radius:.1} 0 {radius:.1} {radius:.1}V{bottom:.1}z"/>"#,
                    middle - bar / 2.0,
                    top + radius,
                    bar - 2.0 * radius,
                ),
            );
        }
        let label = if size.suffix == "w" { &column.label } else { &column.label_narrow };
        if !label.is_empty() {
            let class = if column.marked { "c-label marked" } else { "c-label" };
            out(
                svg,
                format_args!(
                    r#"<text class="{class}" x="{middle:.1}" y="{}">{}</text>"#,
                    size.height - 7.0,
                    escape(label)
                ),
            );
        }
        svg.push_str(if column.link.is_some() { "</g></a>" } else { "</g></g>" });
    }

    fn table(&self) -> String {
        let mut html = String::with_capacity(2048);
        out(
            &mut html,
            format_args!(r#"<table class="figures"><caption>{}</caption><thead><tr>"#, escape(&self.title)),
        );
        for head in &self.table_head {
            out(&mut html, format_args!(r#"<th scope="col">{}</th>"#, escape(head)));
        }
        html.push_str("</tr></thead><tbody>");
        let cells = |place| -> Vec<&str> {
            self.columns().iter().map(|column| column.row.get(place).map_or("", String::as_str)).collect()
        };
        // What stands under one another has its points under one another.
        let places: Vec<_> = (0..self.table_head.len()).map(|place| format::alike(&cells(place))).collect();
        for (line, column) in self.columns().iter().enumerate() {
            html.push_str(if column.marked { r#"<tr class="marked">"# } else { "<tr>" });
            for (index, cell) in column.row.iter().enumerate() {
                let cell =
                    if index == 0 { cell } else { places.get(index).map_or(cell, |place| &place[line]) };
                match (&column.link, index) {
                    (Some(link), 0) => out(
                        &mut html,
                        format_args!(
                            r#"<th scope="row"><a href="{}">{}</a></th>"#,
                            escape(link),
                            escape(cell)
                        ),
                    ),
                    (None, 0) => out(&mut html, format_args!(r#"<th scope="row">{}</th>"#, escape(cell))),
                    _ => out(&mut html, format_args!("<td>{}</td>", escape(cell))),
                }
            }
            html.push_str("</tr>");
        }
        html.push_str("</tbody></table>");
        html
    }
}

#[derive(Clone, Copy)]
struct Place {
    middle: f64,
    step: f64,
    bar: f64,
    floor: f64,
}

impl Column {
    fn height(&self) -> i64 {
        self.parts.iter().map(|part| (*part).max(0)).fold(0, i64::saturating_add)
    }
}

impl Chart {
    /// The whole figure as HTML: both pictures and the table behind them. Where columns are links, one more leads past
    /// all of them.
    pub fn html(&self, words: &SharedWords) -> String {
        let Chart { wide, narrow, table, id, title, is_linked } = self;
        let past = match is_linked {
            true => format!(r##"<a class="skip" href="#{id}-table">{}</a>"##, escape(words.skip_chart)),
            false => String::new(),
        };
        format!(
            r#"<figure class="chart">{past}{wide}{narrow}<details><summary id="{id}-table">{}</summary><div class="scroll" role="region" tabindex="0" aria-label="{}">{table}</div></details></figure>"#,
            escape(words.as_table),
            escape(title),
        )
    }
}

/// A bar that is filled up to a share, such as a tier or one of several amounts beside each other. `label` says it in
/// words; `class` names its colour in the sheet.
pub fn meter(part: i64, whole: i64, label: &str, class: &str) -> String {
    let share = if whole <= 0 { 0.0 } else { (part as f64 / whole as f64).clamp(0.0, 1.0) * 100.0 };
    // A value that is there but tiny stays visible.
    let share = if part > 0 { share.max(1.5) } else { share };
    format!(
        r#"<svg class="meter {}" width="100%" height="12" role="img" aria-label="{}"><rect class="m-ground" width="100%" height="12" rx="6"/><rect class="m-part" width="{share:.1}%" height="12" rx="6"/></svg>"#,
        escape(class),
        escape(label)
    )
}

/// Tiers beside each other from zero on, with the limit written under where each ends, and the present place marked.
#[derive(Clone, Copy, Debug)]
pub struct Track<'a> {
    /// How far one is.
    pub part: i64,
    /// The upper limits of all tiers but the last, rising, and how each is written.
    pub limits: &'a [(i64, String)],
    /// The unit, written once, after the last limit.
    pub unit: &'a str,
    /// What it says, in words.
    pub label: &'a str,
    /// Names its colour in the sheet; may be empty.
    pub class: &'a str,
}

impl Track<'_> {
    /// Draws it. The last tier has no end: it gets a quarter of what lies before it, or more if one is further.
    pub fn draw(&self) -> String {
        let last = self.limits.last().map_or(0, |(limit, _)| *limit).max(1);
        let end = (last as f64 * 1.25).max(self.part as f64 * 1.05);
        let share = |value: i64| (value.max(0) as f64 / end * 100.0).clamp(0.0, 100.0);
        let part = share(self.part);
        let mut svg = String::with_capacity(1024);
        out(
            &mut svg,
            format_args!(
                r#"<svg class="track {}" width="100%" height="44" role="img" aria-label="{}"><rect class="m-ground" y="4" width="100%" height="12" rx="6"/><rect class="m-part" y="4" width="{part:.1}%" height="12" rx="6"/>"#,
                escape(self.class),
                escape(self.label),
            ),
        );
        for (index, (limit, text)) in self.limits.iter().enumerate().take(8) {
            let x = share(*limit);
            let unit = if index + 1 == self.limits.len() { format!(" {}", self.unit) } else { String::new() };
            out(
                &mut svg,
                format_args!(
                    r#"<rect class="m-cut" x="{x:.1}%" y="0" width="3" height="20"/><text x="{x:.1}%" y="38">{}{}</text>"#,
                    escape(text),
                    escape(&unit),
                ),
            );
        }
        out(&mut svg, format_args!(r#"<circle class="m-here" cx="{part:.1}%" cy="10" r="8"/></svg>"#));
        svg
    }
}

/// The marks of an axis from zero that holds `highest`: three to five of them, at round numbers.
fn ticks(highest: f64) -> Vec<f64> {
    let highest = if highest.is_finite() && highest > 0.0 { highest } else { 1.0 };
    let rough = highest / 3.0;
    let magnitude = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|m| m * magnitude).find(|s| *s >= rough).unwrap_or(rough);
    let count = (highest / step).ceil().clamp(1.0, 10.0) as u32;
    (0..=count).map(|n| f64::from(n) * step).collect()
}

fn number(value: f64) -> String {
    if value.fract().abs() < 1e-9 {
        let text = format!("{value:.0}");
        return if text.len() > 4 { format!("{}k", number(value / 1000.0)) } else { text };
    }
    format!("{value:.2}").trim_end_matches('0').to_owned()
}

fn out(text: &mut String, args: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = text.write_fmt(args);
}

/// Escapes text for HTML and SVG, in content and in quoted attributes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::envelope::Language;

    use super::*;

    fn bars(columns: Vec<Column>) -> Bars {
        Bars {
            id: "t",
            title: "a <b>".into(),
            description: "c".into(),
            unit: "kWh",
            scale: 1000,
            columns,
            table_head: vec!["x".into(), "y".into()],
        }
    }

    #[test]
    fn texts_are_escaped_and_the_table_holds_the_same_rows() {
        let column = Column {
            label: "8".into(),
            hint: "\"><script>".into(),
            parts: vec![3_000, 1_000],
            link: Some("/usage?month=2026-08&day=2026-08-01".into()),
            row: vec!["1 Aug".into(), "4".into()],
            ..Column::default()
        };
        let html = bars(vec![column]).draw().html(SharedWords::of(Language::En));
        assert!(
            !html.contains("<script>") && html.contains("&lt;script&gt;") && html.contains("a &lt;b&gt;")
        );
        assert!(html.contains(
            r#"<th scope="row"><a href="/usage?month=2026-08&amp;day=2026-08-01">1 Aug</a></th><td>4</td>"#
        ));
        assert!(html.contains(r#"role="group""#) && !html.contains("style="));
        assert!(html.contains(r##"href="#t-table""##) && html.contains(r#"<summary id="t-table">"#));
        assert!(html.contains(r#"<div class="scroll" role="region" tabindex="0" aria-label="a &lt;b&gt;">"#));
    }

    #[test]
    fn a_value_stands_above_all_it_reaches_over_and_is_drawn_last() {
        let column = |size: i64, value: Option<&str>| Column {
            parts: vec![size],
            value_label: value.map(Into::into),
            ..Column::default()
        };
        let mut columns: Vec<Column> = (0..13).map(|_| column(1_000, None)).collect();
        columns[5] = column(100_000, Some("¥100.00"));
        columns[6] = column(20_000, Some("¥20.00"));
        let svg = bars(columns).svg(&NARROW);
        let values: Vec<(f64, f64)> = svg
            .split(r#"class="c-value" x=""#)
            .skip(1)
            .map(|text| {
                let (x, rest) = text.split_once(r#"" y=""#).unwrap();
                (x.parse().unwrap(), rest.split('"').next().unwrap().parse().unwrap())
            })
            .collect();
        let [high, low] = values[..] else { panic!("{values:?}") };
        assert!(low.1 < TOP && (low.1 - high.1).abs() >= LINE && low.1 > 0.0, "{values:?}");
        let (_, after) = svg.split_once("c-value").unwrap();
        assert!(!after.contains("<path"), "{after}");
    }

    #[test]
    fn axes_begin_at_zero_and_have_round_marks() {
        assert_eq!(ticks(706.24), [0.0, 250.0, 500.0, 750.0]);
        assert_eq!(ticks(14.3), [0.0, 5.0, 10.0, 15.0]);
        assert_eq!(ticks(0.0), [0.0, 0.5, 1.0]);
        assert_eq!(
            (number(0.5), number(12_500.0), number(2_000.0)),
            ("0.5".into(), "12.5k".into(), "2000".into())
        );
    }

    #[test]
    fn a_meter_stays_within_its_bounds() {
        assert!(meter(5, 0, "x", "y").contains(r#"width="1.5%""#));
        assert!(meter(500, 100, "x", "y").contains(r#"width="100.0%""#));
        assert!(meter(-5, 100, "x", "y").contains(r#"width="0.0%""#));
    }

    #[test]
    fn a_track_has_every_limit_and_stays_within_its_bounds() {
        let limits = [(2_760_000, "2,760".to_owned()), (4_800_000, "4,800".to_owned())];
        for part in [i64::MIN, 0, 2_967_000, 4_800_000, 9_000_000, i64::MAX] {
            let svg = Track { part, limits: &limits, unit: "kWh", label: "<x>", class: "" }.draw();
            assert!(svg.contains(">2,760</text>") && svg.contains(">4,800 kWh</text>"), "{svg}");
            assert!(svg.contains("&lt;x&gt;") && !svg.contains("NaN") && !svg.contains("-1"), "{svg}");
        }
        let svg = Track { part: 3_000_000, limits: &limits, unit: "kWh", label: "x", class: "" }.draw();
        assert!(svg.contains(r#"cx="50.0%""#) && svg.contains(r#"x="80.0%""#), "{svg}");
    }

    proptest! {
        #[test]
        fn no_numbers_break_a_chart(parts in proptest::collection::vec(proptest::collection::vec(-1i64 << 40..1 << 40, 0..3), 0..80)) {
            let columns = parts.into_iter().map(|parts| Column { parts, ..Column::default() }).collect();
            let html = bars(columns).draw().html(SharedWords::of(Language::Zh));
            prop_assert!(!html.contains("NaN") && !html.contains("inf"));
        }

        #[test]
        fn marks_reach_the_highest_value(highest in 0.001f64..1e12) {
            let marks = ticks(highest);
            prop_assert!(marks.len() <= 6 && marks.last().is_some_and(|top| *top >= highest * 0.999));
        }
    }
}
