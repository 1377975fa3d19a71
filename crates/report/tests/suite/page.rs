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
    assert_eq!(page.matches("<svg").count(), 10, "three plots a rung, and one of all");
    assert!(page.contains("prefers-color-scheme:dark"));
}

/// Goal: what happened to a rung is shaded in its plots and in the plot of all, named, and told in the order of time.
#[test]
fn events_are_shaded_and_told() {
    let (judgement, history) = ladder::run();
    let page = herd_report::html(&judgement, &history);
    for (class, what) in [
        ("fault", "fault origin-fails on origin"),
        ("deploy", "versioned deploy"),
        ("members", "node-7 out of the membership"),
    ] {
        let rungs = if class == "fault" { 2 } else { 1 };
        assert_eq!(page.matches(&format!("<rect class=\"shade {class}\"")).count(), 3 * rungs, "{class}");
        assert!(page.contains(&format!("<key-{class}>{what}</key-{class}>")), "{what}");
    }
    assert!(page.contains("At 3.40 s fault origin-fails on origin was repaired."));
    assert!(
        page.contains(
            "At 2.00 s fault origin-fails on origin was NOT seen to take effect (no fetch failed)."
        )
    );
    assert!(page.contains("The pre-warm gate opened: 96.2 % of the log&#39;s reads would hit"));
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
    assert_eq!(page.matches("<svg").count(), 1 + 3 * judgement.rungs.len());
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
