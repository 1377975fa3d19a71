use crate::made::run;

/// Goal: the page opens anywhere, offline: nothing in it refers to anything outside.
#[test]
fn the_page_needs_nothing_else() {
    let (judgement, history) = run([20, 6, 1]);
    let page = herd_report::html(&judgement, &history);
    for outside in ["http:", "https:", "<script", "<link", "<img", "@import", "url(", "src="] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert_eq!(page.matches("<svg").count(), 9, "three plots a rung");
    assert!(page.contains("prefers-color-scheme:dark"));
}

/// Goal: every opened element is closed, so that no part of the page swallows the next.
#[test]
fn elements_are_balanced() {
    let (judgement, history) = run([20, 6, 1]);
    let page = herd_report::html(&judgement, &history);
    for element in [
        "table", "tr", "td", "th", "svg", "details", "summary", "ul", "li", "h2", "h3", "p", "span", "div",
        "title",
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
    assert!(!herd_report::markdown(&judgement).contains("**<script"), "Markdown");
}

/// Goal: the sawtooth is in the plots: one point a bin, over the whole window.
#[test]
fn plots_cover_the_window() {
    let (judgement, history) = run([20, 4, 1]);
    let page = herd_report::html(&judgement, &history);
    let points = page.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
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
