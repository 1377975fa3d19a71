//! A rung's course: small plots one below the other over one axis of time, with what was done to it drawn through all of them.
//!
//! Lines of one plot differ in colour and in dashes, shades carry their names: nothing is told by colour alone.

use std::fmt::{Arguments, Write};

use crate::events::{Mark, Shade};
use crate::html::escaped;
use crate::series::Series;
use crate::words::{count, ms};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 14.0;
/// One plot: its title above, its area.
const TITLE: f64 = 20.0;
const AREA: f64 = 74.0;
const GAP: f64 = 8.0;
const AXIS: f64 = 20.0;
/// One row of names above the plots.
const LANE: f64 = 15.0;
const LANES_MAX: usize = 6;
/// Width of a character of a name, on the safe side.
const CHARACTER: f64 = 6.6;

/// How values become heights.
#[derive(Clone, Copy, PartialEq)]
enum Scale {
    /// From 0 to what the values need.
    Linear,
    /// By powers of ten: fast and slow requests both show.
    Powers,
    /// 0 to 100 %.
    Percent,
}

/// One plot.
struct Panel<'a> {
    title: &'static str,
    unit: &'static str,
    scale: Scale,
    /// The first is drawn last.
    lines: Vec<Line<'a>>,
}

/// Name, look and values.
type Line<'a> = (String, &'static str, &'a [Option<f64>]);

fn one<'a>(name: &str, values: &'a [Option<f64>]) -> Line<'a> {
    (name.to_owned(), "one", values)
}

fn two<'a>(name: &str, values: &'a [Option<f64>]) -> Line<'a> {
    (name.to_owned(), "two", values)
}

fn panels(series: &Series) -> Vec<Panel<'_>> {
    let mut origin = vec![one("all", &series.origin_per_s)];
    if let Some(hot) = &series.hot {
        origin.push(two(&format!("for {}", hot.key), &hot.origin_per_s));
    }
    // What arrives is what clients try, not what their users ask for.
    let sent = match &series.tried_per_s {
        Some(tried) => two("sent, retries included", tried),
        None => two("sent", &series.sent_per_s),
    };
    vec![
        Panel {
            title: "Requests",
            unit: "/s",
            scale: Scale::Linear,
            lines: vec![one("answered", &series.answered_per_s), sent],
        },
        Panel {
            title: "Latency",
            unit: " ms",
            scale: Scale::Powers,
            lines: vec![
                one("median", &series.latency_p50_ms),
                two("99th percentile", &series.latency_p99_ms),
            ],
        },
        Panel {
            title: "Hit rate",
            unit: " %",
            scale: Scale::Percent,
            lines: vec![one("found at the first look", &series.hit_percent)],
        },
        Panel { title: "Origin queries", unit: "/s", scale: Scale::Linear, lines: origin },
        Panel {
            title: "Failed requests",
            unit: "/s",
            scale: Scale::Linear,
            lines: vec![one("failed", &series.failed_per_s)],
        },
    ]
}

/// The whole drawing.
pub(crate) fn timeline(label: &str, series: &Series, shades: &[Shade], marks: &[Mark]) -> String {
    let panels = panels(series);
    let window_ms = series.window_ms as f64;
    let x = |at_ms: f64| LEFT + (at_ms / window_ms).clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT);
    let names = names(shades, marks, x);
    let lanes = names.iter().map(|name| name.lane + 1).max().unwrap_or(0) as f64;
    let top = 4.0 + lanes * LANE;
    let bottom = top + panels.len() as f64 * (TITLE + AREA + GAP);
    let mut svg = format!(
        "<svg class=\"course\" viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" aria-label=\"{}\">",
        bottom + AXIS,
        escaped(label)
    );
    for shade in shades {
        shaded(&mut svg, shade, x, top, bottom);
    }
    for mark in marks {
        let at = x(mark.at_ms);
        put(
            &mut svg,
            format_args!(
                "<line class=\"mark {}\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\"><title>{}</title></line>",
                mark.class,
                escaped(&mark.what)
            ),
        );
    }
    for name in &names {
        name.draw(&mut svg);
    }
    for (index, panel) in panels.iter().enumerate() {
        let above = top + index as f64 * (TITLE + AREA + GAP);
        panel.draw(&mut svg, series, x, above);
    }
    let seconds = window_ms / 1e3;
    let step = nice(seconds / 12.0).max(1.0);
    let mut tick = 0.0;
    while tick <= seconds {
        text(&mut svg, "tick", x(tick * 1e3), bottom + 13.0, "middle", &format!("{tick:.0} s"));
        tick += step;
    }
    svg.push_str("</svg>");
    svg
}

/// From the injection to the repair, paler to the recovery, with an edge where it began: three looks without any colour.
fn shaded(svg: &mut String, shade: &Shade, x: impl Fn(f64) -> f64, top: f64, bottom: f64) {
    let (from, to, over) = (x(shade.from_ms), x(shade.to_ms), x(shade.over_ms.max(shade.to_ms)));
    let height = bottom - top;
    put(
        svg,
        format_args!(
            "<g><title>{}</title><rect class=\"shade {class}\" x=\"{from:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>",
            escaped(&shade.what),
            (to - from).max(2.0),
            class = shade.class,
        ),
    );
    if over > to {
        put(
            svg,
            format_args!(
                "<rect class=\"shade pale {}\" x=\"{to:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>",
                shade.class,
                over - to
            ),
        );
    }
    put(
        svg,
        format_args!(
            "<line class=\"edge {}\" x1=\"{from:.1}\" x2=\"{from:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\"/></g>",
            shade.class
        ),
    );
}

/// A name above the plots.
struct Name {
    text: String,
    class: &'static str,
    left: f64,
    right: f64,
    lane: usize,
}

impl Name {
    fn draw(&self, svg: &mut String) {
        let y = 4.0 + self.lane as f64 * LANE + 11.0;
        text(svg, &format!("label {}", self.class), self.left, y, "start", &self.text);
    }
}

/// The first of each name, in rows so that none lies over another; what finds no row is told under the plots alone.
fn names(shades: &[Shade], marks: &[Mark], x: impl Fn(f64) -> f64) -> Vec<Name> {
    let shaded = shades.iter().map(|shade| (shade.label.as_str(), shade.class, shade.from_ms));
    let marked = marks.iter().map(|mark| (mark.label.as_str(), mark.class, mark.at_ms));
    let mut all: Vec<(&str, &'static str, f64)> =
        shaded.chain(marked).filter(|(name, ..)| !name.is_empty()).collect();
    all.sort_by(|a, b| a.2.total_cmp(&b.2));
    let mut placed: Vec<Name> = Vec::new();
    for (name, class, at_ms) in all {
        if placed.iter().any(|other| other.text == name) {
            continue;
        }
        let room = name.chars().count() as f64 * CHARACTER;
        let left = (x(at_ms) + 2.0).min(WIDTH - RIGHT - room).max(2.0);
        let right = left + room;
        let is_free = |lane: &usize| {
            placed
                .iter()
                .all(|other| other.lane != *lane || other.right + 6.0 <= left || right + 6.0 <= other.left)
        };
        if let Some(lane) = (0..LANES_MAX).find(is_free) {
            placed.push(Name { text: name.to_owned(), class, left, right, lane });
        }
    }
    placed
}

impl Panel<'_> {
    fn draw(&self, svg: &mut String, series: &Series, x: impl Fn(f64) -> f64, above: f64) {
        let (low, high) = self.range();
        let bottom = above + TITLE + AREA;
        let y = |value: f64| bottom - self.share(value, low, high) * AREA;
        put(
            svg,
            format_args!(
                "<text class=\"name\" x=\"{LEFT}\" y=\"{:.1}\"><tspan class=\"strong\">{}</tspan>",
                above + 15.0,
                self.title
            ),
        );
        for (name, class, _) in &self.lines {
            let dash = if *class == "two" { "╌╌" } else { "━━" };
            put(svg, format_args!("<tspan class=\"ink-{class}\" dx=\"12\">{dash} {}</tspan>", escaped(name)));
        }
        svg.push_str("</text>");
        for value in self.ticks(low, high) {
            let at = y(value);
            let told = if value >= 1.0 || value == 0.0 { count(value.round() as u64) } else { ms(value) };
            put(
                svg,
                format_args!(
                    "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>",
                    WIDTH - RIGHT
                ),
            );
            text(svg, "tick", LEFT - 5.0, at + 4.0, "end", &format!("{told}{}", self.unit));
        }
        for (_, class, values) in self.lines.iter().rev() {
            for points in pieces(values, series, &x, y) {
                put(svg, format_args!("<polyline class=\"{class}\" points=\"{points}\"/>"));
            }
        }
    }

    fn range(&self) -> (f64, f64) {
        let all = || self.lines.iter().flat_map(|(.., values)| values.iter().flatten().copied());
        let highest = all().fold(0.0, f64::max);
        match self.scale {
            Scale::Percent => (0.0, 100.0),
            Scale::Linear => (0.0, nice(highest.max(1.0))),
            Scale::Powers => (0.1, 10_f64.powf(highest.max(10.0).log10().ceil())),
        }
    }

    /// Where in the plot a value lies, 0 to 1.
    fn share(&self, value: f64, low: f64, high: f64) -> f64 {
        match self.scale {
            Scale::Powers => (value.max(low) / low).log10() / (high / low).log10(),
            Scale::Linear | Scale::Percent => (value - low) / (high - low),
        }
        .clamp(0.0, 1.0)
    }

    fn ticks(&self, low: f64, high: f64) -> Vec<f64> {
        if self.scale != Scale::Powers {
            return vec![low, f64::midpoint(low, high), high];
        }
        let decades = (high / low).log10().round() as i32;
        let step = if decades > 4 { 2 } else { 1 };
        (0..=decades).rev().step_by(step).map(|power| low * 10_f64.powi(power)).collect()
    }
}

/// The points of a line, in pieces where there is nothing in between.
fn pieces(
    values: &[Option<f64>],
    series: &Series,
    x: impl Fn(f64) -> f64,
    y: impl Fn(f64) -> f64,
) -> Vec<String> {
    let mut all = vec![String::new()];
    for (index, value) in values.iter().enumerate() {
        let last = all.last_mut().expect("there is one");
        match value {
            Some(value) => {
                let middle_ms = (index as f64 + 0.5) * series.bin_ms as f64;
                let space = if last.is_empty() { "" } else { " " };
                last.push_str(&format!("{space}{:.1},{:.1}", x(middle_ms), y(*value)));
            }
            None if last.is_empty() => {}
            None => all.push(String::new()),
        }
    }
    all.retain(|points| !points.is_empty());
    // A single point has no length: it is drawn as a dot's width.
    for points in &mut all {
        if !points.contains(' ') {
            *points = format!("{points} {points}");
        }
    }
    all
}

fn text(svg: &mut String, class: &str, x: f64, y: f64, anchor: &str, what: &str) {
    let what = escaped(what);
    put(
        svg,
        format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{what}</text>"
        ),
    );
}

fn put(svg: &mut String, text: Arguments<'_>) {
    svg.write_fmt(text).expect("a string takes everything");
}

/// The next of 1, 2, 4, 5, 10, 20 and so on.
fn nice(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(1e-9).log10().floor());
    let steps = [1.0, 2.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|step| *step >= value).unwrap_or(10.0 * power)
}
