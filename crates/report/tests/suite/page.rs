use crate::ladder;
use crate::made::run;

/// Goal: the page opens anywhere, offline: nothing in it refers to anything outside.
#[test]
fn the_page_needs_nothing_else() {
    let (judgement, history) = run([20, 6, 1]);
    let page = herd_report::html(&judgement, &history);
    for outside in ["http:", "https:", "<script", "<link", "<img", "@import", "url(", "src="] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert_eq!(page.matches("<svg").count(), 7, "the course and the herds of each rung, and one plot of all");
    assert!(page.contains("prefers-color-scheme:dark"));
}

/// Goal: what happened to a rung is shaded in its plots and in the plot of all, named, and told in the order of time.
#[test]
fn events_are_shaded_and_told() {
    let (judgement, history) = ladder::run();
    let page = herd_report::html(&judgement, &history);
    // In the plot of its rung and in that of all; two rungs have a fault.
    assert_eq!(page.matches("<rect class=\"shade fault\"").count(), 2 * 2);
    assert_eq!(page.matches("<rect class=\"shade pale fault\"").count(), 1, "until it recovered");
    assert!(page.contains("<title>fault origin-fails on origin</title>"));
    assert!(page.contains("<key-fault>origin-fails</key-fault>"));
    assert_eq!(page.matches("<line class=\"mark members\"").count(), 2 * 2, "left, and came back");
    assert!(page.contains("<title>node-7 left the membership</title>"));
    assert!(
        page.contains("<key-deploy>deploy</key-deploy>")
            && page.contains("<title>versioned deploy: deploy</title>")
    );
    assert!(page.contains(
        "repaired after another 2.15 s; the fleet seen to work again after 200 ms (a fetch succeeded)."
    ));
    assert!(page.contains("NOT seen to take effect within 1.00 s (no fetch failed)."));
    assert!(page.contains("The pre-warm gate opened: 96.2 % of the log&#39;s reads would hit"));
}

/// Goal: where many keys are read the herd of the hot one is not buried under the others: it has a line of its own, and the plot of
/// all rungs shows it. Where no key stands out, all are shown.
#[test]
fn a_hot_key_has_a_line_of_its_own() {
    let (judgement, mut history) = run([20, 4, 1]);
    assert!(!herd_report::html(&judgement, &history).contains("for item-1"), "the only key needs no name");
    for rung in &mut history.rungs {
        for (n, operation) in rung.operations.iter_mut().enumerate().filter(|(n, _)| n % 2 == 1) {
            operation.key = format!("item-{}", n % 40 + 1);
        }
    }
    let page = herd_report::html(&judgement, &history);
    assert!(page.contains("<h2>Origin queries per second for item-1 "));
    assert_eq!(page.matches("╌╌ for item-1</tspan>").count(), 3, "one a rung");
    for rung in &mut history.rungs {
        for (n, operation) in rung.operations.iter_mut().enumerate() {
            operation.key = format!("item-{}", n % 40 + 1);
        }
    }
    assert!(!herd_report::html(&judgement, &history).contains("for item-1"), "no key stands out");
}

/// Goal: of more herds than there is room for the largest are drawn, so that the worst one is seen.
#[test]
fn the_largest_herds_are_drawn() {
    let (mut judgement, history) = run([20, 4, 1]);
    let mut herds = vec![judgement.rungs[2].herds[0].clone(); 100];
    herds[97].rebuilds = 9;
    judgement.rungs[2].herds = herds;
    let page = herd_report::html(&judgement, &history);
    assert!(page.contains("the largest 60 of 100"));
    assert!(page.contains(": 9 rebuilds by"));
}

/// Goal: of many rungs only those that need a look stand open, and every name in the table leads to its rung.
#[test]
fn many_rungs_stay_readable() {
    let (judgement, history) = ladder::run();
    let page = herd_report::html(&judgement, &history);
    assert_eq!(page.matches("<details class=\"rung\" open>").count(), 2, "one refuted, one unknown");
    for rung in &judgement.rungs {
        let id = format!("\"rung-{}\"", rung.name);
        assert!(page.contains(&format!("id={id}")), "{id}");
        assert_eq!(page.matches(&format!("href=\"#rung-{}\"", rung.name)).count(), 2, "{id}");
    }
    assert_eq!(page.matches("<svg").count(), 1 + 2 * judgement.rungs.len());
}

/// Goal: every opened element is closed, so that no part of the page swallows the next.
#[test]
fn elements_are_balanced() {
    let (judgement, history) = ladder::run();
    let page = herd_report::html(&judgement, &history);
    for element in [
        "table",
        "tr",
        "td",
        "th",
        "svg",
        "details",
        "summary",
        "ul",
        "li",
        "h2",
        "h3",
        "p",
        "span",
        "div",
        "title",
        "dl",
        "dt",
        "dd",
        "a",
        "text",
        "key-fault",
    ] {
        let opened =
            page.matches(&format!("<{element}>")).count() + page.matches(&format!("<{element} ")).count();
        assert_eq!(opened, page.matches(&format!("</{element}>")).count(), "{element}");
    }
}

/// Goal: text of a scenario or of a node cannot become markup.
#[test]
fn foreign_text_is_escaped() {
    let (mut judgement, history) = run([20, 4, 1]);
    judgement.verdicts[0].why = "<script>alert(1)</script>".to_owned();
    let page = herd_report::html(&judgement, &history);
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"));
    assert!(page.contains("Each layer bounds &lt;one&gt; herd."));
    assert!(!herd_report::markdown(&judgement, &history).contains("**<script"), "Markdown");
}

/// Goal: the sawtooth is in the plots: one point a bin, over the whole window.
#[test]
fn plots_cover_the_window() {
    let (judgement, history) = run([20, 4, 1]);
    let page = herd_report::html(&judgement, &history);
    let points = page.split("<polyline class=\"one\" points=\"").nth(4).unwrap().split('"').next().unwrap();
    assert_eq!(points.split(' ').count(), 50, "5 s in bins of 100 ms");
}

/// Goal: the four files appear in the run's folder, and a second report replaces them.
#[test]
fn all_files_are_written_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (judgement, history) = run([20, 4, 1]);
    for _ in 0..2 {
        let paths = herd_report::write_all(dir.path(), &judgement, &history).unwrap();
        let names: Vec<_> = paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["results.json", "report.md", "report.html", "junit.xml"]);
        assert!(paths.iter().all(|path| path.exists()));
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4, "nothing is left beside them");
}
