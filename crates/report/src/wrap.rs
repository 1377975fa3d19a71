//! Lines that fit a width.

/// Words that stay with both their neighbours, so that `N = 50` is not torn.
const BOTH: [&str; 2] = ["=", ">="];
/// Words that stay with the number before them.
const UNITS: [&str; 3] = ["ms", "s", "%"];

/// Breaks text into lines of at most `width` characters, at spaces; a longer word stands alone. The first line begins with `first`,
/// the others with as many spaces. Ends in a line's end.
#[must_use]
pub fn wrapped(first: &str, text: &str, width: usize) -> String {
    let indent = first.chars().count();
    let mut out = first.to_owned();
    let mut column = indent;
    for word in words(text) {
        let length = word.chars().count();
        if column > indent && column + 1 + length > width {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if column > indent {
            out.push(' ');
            column += 1;
        }
        out.push_str(&word);
        column += length;
    }
    format!("{}\n", out.trim_end())
}

/// What is not torn.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut stays = false;
    for word in text.split_whitespace() {
        let bare = word.trim_end_matches([',', '.', ':', ';', ')']);
        let joins = stays || BOTH.contains(&bare) || UNITS.contains(&bare);
        match words.last_mut().filter(|_| joins) {
            Some(last) => {
                last.push(' ');
                last.push_str(word);
            }
            None => words.push(word.to_owned()),
        }
        stays = BOTH.contains(&bare);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    /// Goal: no line is longer than asked, unless one word is, and nothing is lost.
    #[test]
    fn lines_fit() {
        assert_eq!(wrapped("a: ", "one two three", 10), "a: one two\n   three\n");
        assert_eq!(wrapped("", "abcdefghijkl mn", 5), "abcdefghijkl\nmn\n");
        assert_eq!(wrapped("", "", 5), "\n");
    }

    /// Goal: a formula and a quantity stay on one line.
    #[test]
    fn formulas_are_not_torn() {
        assert_eq!(wrapped("", "at most N = 50 of 300 ms.", 10), "at most\nN = 50 of\n300 ms.\n");
    }
}
