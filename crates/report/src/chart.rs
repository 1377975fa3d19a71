//! Plots as inline SVG. Colours come from the page's style, so that they follow its light or dark scheme.

use std::fmt::Write;

use herd_judge::HerdFigures;

use crate::words::{count, ms};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 22.0;

/// Herds that are drawn; further ones are only counted.
const BARS_MAX: usize = 60;

/// One line of a plot over time.
pub(crate) struct Line<'a> {
    pub(crate) class: &'static str,
    pub(crate) values: &'a [f64],
}

/// Lines over the time of a rung's window.
pub(crate) fn over_time(label: &str, window_ms: u64, bin_ms: u64, lines: &[Line<'_>]) -> String {
    let highest = top_of(lines.iter().flat_map(|line| line.values.iter().copied()));
    let mut svg = open(label);
    horizontal(&mut svg, highest);
    let seconds = window_ms as f64 / 1e3;
    let step = nice(seconds / 8.0);
    let mut tick = 0.0;
    while tick <= seconds {
        let x = x_of(tick / seconds);
        put(
            &mut svg,
            format_args!(
                "<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick:.0} s</text>",
                HEIGHT - 6.0
            ),
        );
        tick += step.max(1.0);
    }
    for line in lines {
        let points: Vec<String> = line
            .values
            .iter()
            .enumerate()
            .map(|(index, value)| {
                let middle_ms = (index as f64 + 0.5) * bin_ms as f64;
                format!("{:.1},{:.1}", x_of((middle_ms / window_ms as f64).min(1.0)), y_of(value / highest))
            })
            .collect();
        put(&mut svg, format_args!("<polyline class=\"{}\" points=\"{}\"/>", line.class, points.join(" ")));
    }
    svg.push_str("</svg>");
    svg
}

/// One bar per boundary, with the bound as a line where it fits the scale.
pub(crate) fn herd_sizes(label: &str, herds: &[HerdFigures], bound: Option<u64>) -> String {
    let drawn = &herds[..herds.len().min(BARS_MAX)];
    let sizes = drawn.iter().map(|herd| herd.rebuilds as f64);
    let highest = top_of(sizes.chain(bound.map(|bound| bound as f64)));
    let mut svg = open(label);
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
                 <title>generation {}: {} rebuilds by {} processes, {} at once</title></rect>",
                middle - width / 2.0,
                (HEIGHT - BOTTOM - y).max(1.0),
                herd.generation,
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

fn open(label: &str) -> String {
    let label = crate::html::escaped(label);
    format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{label}\">")
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

fn x_of(share: f64) -> f64 {
    LEFT + share * (WIDTH - LEFT - RIGHT)
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
