//! What a rung does, what bound theory gives it with the scenario's numbers put in, and what breaks it. Nothing is run for it.
//!
//! The formulas are those of the literature and the systems that each text names; the judge computes its own from what was
//! measured, so that an explanation never decides a verdict.

mod background;
mod coalesce;
mod edges;
mod faults;
mod numbers;
mod shown;
mod spread;
mod twists;

use herd_scenario::{Layer, Rung, Scenario};

use crate::herds::STACK_MIN;
use crate::wrap::wrapped;
use numbers::Numbers;

/// The width of the text, in characters.
const WIDTH: usize = 100;

/// What is said of one layer. The outermost layer of a rung is told whole, those under it by their `short` bound.
struct Entry {
    /// Which herd it bounds: `the herd of one process`.
    herd: &'static str,
    /// What it does.
    does: String,
    /// Its bound, formula and numbers.
    bound: String,
    /// The bound in a few words.
    short: String,
    /// What breaks it.
    breaks: String,
    /// Why another layer was needed.
    next: String,
}

/// One rung in plain text: what its outermost layer does, its bound with the scenario's numbers, what breaks it, the shipped
/// scenarios that show it broken, and the layers under it. Lines of at most 100 characters, ending in a line's end.
#[must_use]
pub fn explain(scenario: &Scenario, rung: &Rung) -> String {
    let numbers = Numbers { scenario, rung };
    let outermost = rung.layers.last().copied();
    let is_stack = rung.layers.len() >= STACK_MIN;
    let entry = whole(&numbers);
    let title = title(rung);
    let name = if title == rung.name { title } else { format!("{} · {title}", rung.name) };
    let mut text = wrapped("", &format!("{name} · bounds {}", entry.herd), WIDTH);
    text.push('\n');
    let mut last = "";
    let mut part = |name: &'static str, what: &str| {
        let shown = if name == last { "" } else { name };
        text.push_str(&wrapped(&format!("{shown:<17}"), what, WIDTH));
        last = name;
    };
    part("What it does", &entry.does);
    part("Its bound", &entry.bound);
    part("What breaks it", &entry.breaks);
    for twist in twists::of(&numbers) {
        part("In this rung", &twist);
    }
    for fault in faults::of(&numbers) {
        part("Its faults", &fault);
    }
    for shown in shown::broken(outermost).iter().filter(|_| !is_stack) {
        part("Shown broken by", shown);
    }
    part("What it leaves", &entry.next);
    for layer in rung.layers.iter().rev().skip(usize::from(!is_stack)) {
        let under = self::entry(Some(*layer), &numbers);
        part(
            if is_stack { "Its layers" } else { "Under it" },
            &format!("{layer}: bounds {}; {}", under.herd, under.short),
        );
    }
    text.push('\n');
    text.push_str(&wrapped("", &legend(&numbers), WIDTH));
    text
}

/// The rungs of a scenario, one line each: name, layers, the herd that the outermost one bounds, the bound in a few words.
#[must_use]
pub fn rungs(scenario: &Scenario) -> String {
    let width = scenario.rungs.iter().map(|rung| rung.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for rung in &scenario.rungs {
        let entry = whole(&Numbers { scenario, rung });
        text.push_str(&format!("{:<width$}  bounds {}: {}\n", rung.name, entry.herd, entry.short));
    }
    text
}

/// Which herd a layer bounds, as a part of a sentence; `None` is a rung without any layer.
pub(crate) fn herd(layer: Option<Layer>) -> &'static str {
    match layer {
        None => "no herd",
        Some(Layer::SingleFlight | Layer::Local) => "the herd of one process",
        Some(Layer::Lock | Layer::Early | Layer::OwnerRouting) => "the herd of the fleet",
        Some(Layer::WaiterTimeout | Layer::StaleWhileRevalidate | Layer::StaleIfError) => {
            "the wait of the readers"
        }
        Some(Layer::Jitter | Layer::Prewarm) => "the herd over many keys",
        Some(Layer::Negative | Layer::KeyFilter) => "the herd on rows that do not exist",
        Some(Layer::Shed) => "the herd under overload",
    }
}

/// What a rung is told by: its outermost layer, or all of them where there are many.
fn whole(numbers: &Numbers<'_>) -> Entry {
    if numbers.rung.layers.len() >= STACK_MIN {
        return coalesce::stack(numbers);
    }
    entry(numbers.rung.layers.last().copied(), numbers)
}

fn entry(layer: Option<Layer>, numbers: &Numbers<'_>) -> Entry {
    match layer {
        None => coalesce::nothing(numbers),
        Some(Layer::SingleFlight) => coalesce::single_flight(numbers),
        Some(Layer::Lock) => coalesce::lock(numbers),
        Some(Layer::OwnerRouting) => coalesce::owner_routing(numbers),
        Some(Layer::WaiterTimeout) => background::waiter_timeout(numbers),
        Some(Layer::StaleWhileRevalidate) => background::stale_while_revalidate(numbers),
        Some(Layer::StaleIfError) => background::stale_if_error(numbers),
        Some(Layer::Early) => background::early(numbers),
        Some(Layer::Jitter) => spread::jitter(numbers),
        Some(Layer::Negative) => spread::negative(numbers),
        Some(Layer::KeyFilter) => spread::key_filter(numbers),
        Some(Layer::Prewarm) => edges::pre_warm(numbers),
        Some(Layer::Shed) => edges::shed(numbers),
        Some(Layer::Local) => edges::local(numbers),
    }
}

fn title(rung: &Rung) -> String {
    if rung.layers.is_empty() {
        return "no layer".to_owned();
    }
    let names: Vec<&str> = rung.layers.iter().map(|layer| layer.name()).collect();
    names.join(" + ")
}

/// The letters that the text uses.
fn legend(numbers: &Numbers<'_>) -> String {
    let key = match numbers.keys() {
        1 => "the key".to_owned(),
        more => format!("the hottest of {} keys", crate::words::count(more)),
    };
    format!(
        "N = {} nodes, r = {} reads per second of {key}, D = {} ms to rebuild it, T = {} ms TTL.",
        numbers.nodes(),
        numbers::number(numbers.hot_rate()),
        numbers.rebuild_ms(),
        crate::words::count(numbers.ttl_ms()),
    )
}
