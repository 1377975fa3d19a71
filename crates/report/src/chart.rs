//! Plots as inline SVG. Colours come from the page's style, so that they follow its light or dark scheme.

use std::fmt::Write;

use herd_judge::HerdFigures;

use crate::events::{Mark, Shade};
use crate::series::Series;
use crate::words::{count, ms};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 22.0;

/// One rung in the plot of all, its name's and its peak's room.
const ROW_HEIGHT: f64 = 40.0;
const ROW_NAME: f64 = 150.0;
const ROW_PEAK: f64 = 82.0;

/// Herds that are drawn at most: the largest.
pub(crate) const BARS_MAX: usize = 60;

/// One rung among others.
pub(crate) struct Row<'a> {
    pub(crate) name: &'a str,
    /// Where the page tells of it.
    pub(crate) anchor: String,
    pub(crate) series: Series,
    pub(crate) shades: Vec<Shade>,
    pub(crate) marks: Vec<Mark>,
}

/// The origin's query rate of every rung, one below the other. The scale is of square roots and the same for all: a sawtooth of a
/// thousand queries stands out, and one of ten still shows.
pub(crate) fn rates(label: &str, rows: &[Row<'_>]) -> String {
    let below = TOP + rows.len() as f64 * ROW_HEIGHT;
    let highest = top_of(rows.iter().flat_map(|row| row.series.herds_per_s().iter().flatten().copied()));
    let mut svg = open(label, below + BOTTOM);
    for (index, row) in rows.iter().enumerate() {
        let bottom = TOP + (index + 1) as f64 * ROW_HEIGHT - 6.0;
        rate(&mut svg, row, bottom, highest);
    }
    // All rungs are driven alike long.
    let window_ms = rows.iter().map(|row| row.series.window_ms).max().unwrap_or(1);
    seconds(&mut svg, window_ms, below + BOTTOM - 6.0, |share| {
        ROW_NAME + share * (WIDTH - ROW_PEAK - ROW_NAME)
    });
    svg.push_str("</svg>");
    svg
}

fn rate(svg: &mut String, row: &Row<'_>, bottom: f64, highest: f64) {
    let Series { window_ms, bin_ms, .. } = &row.series;
    let per_s: Vec<f64> = row.series.herds_per_s().iter().map(|value| value.unwrap_or(0.0)).collect();
    let (left, right) = (ROW_NAME, WIDTH - ROW_PEAK);
    let x = |ms: f64| left + (ms / *window_ms as f64).clamp(0.0, 1.0) * (right - left);
    let y = |value: f64| bottom - (value / highest).sqrt() * (ROW_HEIGHT - 8.0);
    for shade in &row.shades {
        shaded(svg, shade, x, bottom - ROW_HEIGHT + 8.0, bottom);
    }
    for mark in &row.marks {
        let (at, top) = (x(mark.at_ms), bottom - ROW_HEIGHT + 8.0);
        put(
            svg,
            format_args!(
                "<line class=\"mark {}\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\"><title>{}</title></line>",
                mark.class,
                crate::html::escaped(&mark.what)
            ),
        );
    }
    let middle = |index: usize| (index as f64 + 0.5) * *bin_ms as f64;
    let points: Vec<String> =
        per_s.iter().enumerate().map(|(n, value)| format!("{:.1},{:.1}", x(middle(n)), y(*value))).collect();
    let points = points.join(" ");
    let peak = per_s.iter().copied().fold(0.0, f64::max);
    let text_y = bottom - 4.0;
    put(
        svg,
        format_args!(
            "<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\
             <polygon points=\"{left},{bottom} {points} {right},{bottom}\"/><polyline class=\"one\" points=\"{points}\"/>\
             <a href=\"#{}\"><text class=\"name\" x=\"8\" y=\"{text_y}\">{}</text></a>\
             <text class=\"tick\" x=\"{}\" y=\"{text_y}\" text-anchor=\"end\">peak {}/s</text>",
            row.anchor,
            crate::html::escaped(row.name),
            WIDTH - 8.0,
            count(peak.round() as u64)
        ),
    );
}

/// One bar per boundary, with the bound as a line where it fits the scale.
pub(crate) fn herd_sizes(label: &str, herds: &[HerdFigures], bound: Option<u64>) -> String {
    let drawn = largest(herds);
    let sizes = drawn.iter().map(|herd| herd.rebuilds as f64);
    let highest = top_of(sizes.chain(bound.map(|bound| bound as f64)));
    let mut svg = open(label, HEIGHT);
    horizontal(&mut svg, highest);
    let slot = (WIDTH - LEFT - RIGHT) / drawn.len().max(1) as f64;
    let width = (slot * 0.7).min(48.0);
    for (index, herd) in drawn.iter().enumerate() {
        let middle = LEFT + slot * (index as f64 + 0.5);
        let y = y_of(herd.rebuilds as f64 / highest);
        let class = if herd.complete { "bar" } else { "bar cut" };
        put(
            &mut svg,
            format_args!(
                "<rect class=\"{class}\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\">\
                 <title>generation {} of {}: {} rebuilds by {} processes, {} at once</title></rect>",
                middle - width / 2.0,
                (HEIGHT - BOTTOM - y).max(1.0),
                herd.generation,
                crate::html::escaped(&herd.key),
                herd.rebuilds,
                herd.processes,
                herd.peak
            ),
        );
        if drawn.len() <= 20 {
            put(
                &mut svg,
                format_args!(
                    "<text class=\"tick\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                    HEIGHT - 6.0,
                    count(herd.rebuilds)
                ),
            );
        }
    }
    if let Some(bound) = bound {
        let y = y_of(bound as f64 / highest);
        put(
            &mut svg,
            format_args!(
                "<line class=\"bound\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
                WIDTH - RIGHT
            ),
        );
    }
    svg.push_str("</svg>");
    svg
}

/// The largest herds, in order of time; the earlier one of equals.
fn largest(herds: &[HerdFigures]) -> Vec<&HerdFigures> {
    let mut order: Vec<(usize, &HerdFigures)> = herds.iter().enumerate().collect();
    order.sort_by_key(|(_, herd)| std::cmp::Reverse(herd.rebuilds));
    order.truncate(BARS_MAX);
    order.sort_by_key(|(index, _)| *index);
    order.into_iter().map(|(_, herd)| herd).collect()
}

fn open(label: &str, height: f64) -> String {
    let label = crate::html::escaped(label);
    format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{label}\">")
}

/// The seconds of a window, at `y`; `x` places shares of the window.
fn seconds(svg: &mut String, window_ms: u64, y: f64, x: impl Fn(f64) -> f64) {
    let seconds = window_ms as f64 / 1e3;
    let step = nice(seconds / 8.0).max(1.0);
    let mut tick = 0.0;
    while tick <= seconds {
        let x = x(tick / seconds);
        put(
            svg,
            format_args!(
                "<text class=\"tick\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{tick:.0} s</text>"
            ),
        );
        tick += step;
    }
}

/// A stretch of the window; one without length is a thin line. `x` places milliseconds.
fn shaded(svg: &mut String, shade: &Shade, x: impl Fn(f64) -> f64, top: f64, bottom: f64) {
    let (from, to) = (x(shade.from_ms), x(shade.to_ms));
    put(
        svg,
        format_args!(
            "<rect class=\"shade {}\" x=\"{from:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}</title></rect>",
            shade.class,
            (to - from).max(2.0),
            bottom - top,
            crate::html::escaped(&shade.what)
        ),
    );
}

fn horizontal(svg: &mut String, highest: f64) {
    for share in [0.0, 0.5, 1.0] {
        let y = y_of(share);
        let value = highest * share;
        let text =
            if value >= 10.0 || value.fract() == 0.0 { count(value.round() as u64) } else { ms(value) };
        put(
            svg,
            format_args!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
                WIDTH - RIGHT
            ),
        );
        put(
            svg,
            format_args!(
                "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                LEFT - 6.0,
                y + 4.0
            ),
        );
    }
}

fn put(svg: &mut String, text: std::fmt::Arguments<'_>) {
    svg.write_fmt(text).expect("a string takes everything");
}

fn y_of(share: f64) -> f64 {
    HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
}

/// The top of a scale that holds these values; at least 1.
fn top_of(values: impl Iterator<Item = f64>) -> f64 {
    nice(values.fold(1.0, f64::max))
}

/// The next of 1, 2, 4, 5, 10, 20 and so on.
fn nice(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(1e-9).log10().floor());
    [1.0, 2.0, 4.0, 5.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|step| *step >= value)
        .unwrap_or(10.0 * power)
}
