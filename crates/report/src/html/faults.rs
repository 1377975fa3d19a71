//! What was done to a rung, on the page: each fault with the fleet before, meanwhile and after.

use herd_judge::RungFigures;

use super::escaped;
use crate::faults::{COLUMNS, name, rows, summary};

pub(super) fn tables(rung: &RungFigures) -> String {
    let mut text = String::new();
    if rung.faults.is_empty() {
        return text;
    }
    text.push_str("<h3>Before, during and after each fault</h3>\n");
    for fault in &rung.faults {
        text.push_str(&format!(
            "<p><key-fault>{}</key-fault>: {}.</p>\n<div class=\"scroll\"><table>\n<tr>",
            escaped(&name(fault)),
            escaped(&summary(fault))
        ));
        for (column, title) in COLUMNS.iter().enumerate() {
            text.push_str(&format!("<th{}>{title}</th>", class(column)));
        }
        text.push_str("</tr>\n");
        for row in rows(fault) {
            text.push_str("<tr>");
            for (column, cell) in row.iter().enumerate() {
                text.push_str(&format!("<td{}>{}</td>", class(column), escaped(cell)));
            }
            text.push_str("</tr>\n");
        }
        text.push_str("</table></div>\n");
    }
    text
}

fn class(column: usize) -> &'static str {
    if column > 1 { " class=\"number\"" } else { "" }
}
