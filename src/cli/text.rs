//! What others wrote, made fit for a terminal: nothing in it can move the cursor, change colours, forge a line or turn
//! the direction of reading. Also tables.

use std::fmt::Write as _;

use time::OffsetDateTime;

/// A text on one line, its control characters as escapes: `\n`, `\u{1b}`.
pub(super) fn printable(text: &str) -> String {
    escaped(text, |c| !is_harmless(c))
}

/// The same, of which lines stay lines.
pub(super) fn printable_lines(text: &str) -> String {
    escaped(text, |c| !is_harmless(c) && c != '\n')
}

/// A JSON text in which the harmful characters are escapes of JSON: it means the same. They can stand in strings only.
pub(super) fn printable_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_harmless(c) {
            out.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

fn escaped(text: &str, is_harmful: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Neither a control character of either set, nor one that orders text anew, breaks lines or cannot be seen.
fn is_harmless(c: char) -> bool {
    let is_format = matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    );
    !c.is_control() && !is_format
}

/// `19:01:04.610`
pub(super) fn time_of_day(time: OffsetDateTime) -> String {
    let (hour, minute, second, millisecond) = time.to_hms_milli();
    format!("{hour:02}:{minute:02}:{second:02}.{millisecond:03}")
}

/// A text in lines of at most so many characters, broken between words; a longer word has a line of its own.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        if let Some(line) = lines.last_mut()
            && (line.is_empty() || line.chars().count() + 1 + word.chars().count() <= width)
        {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// Rows under a head, in columns as wide as their widest cell. Cells are shown harmless.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let cells = rows
        .iter()
        .map(|row| row.iter().map(|cell| printable(cell)));
    let mut rows: Vec<Vec<String>> = vec![head.iter().map(|&title| title.to_owned()).collect()];
    rows.extend(cells.map(Iterator::collect));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..head.len()).filter_map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_harmful_is_left() {
        let hostile = "a\u{1b}[2J\u{9b}31m\n\r\t\u{7}\u{202e}b\u{2028}\u{7f}ü漢\u{e0041}";
        let text = printable(hostile);
        assert_eq!(
            text,
            r"a\u{1b}[2J\u{9b}31m\n\r\t\u{7}\u{202e}b\u{2028}\u{7f}ü漢\u{e0041}"
        );
        assert_eq!(printable_lines("a\nb\u{1b}"), "a\nb\\u{1b}");
    }

    #[test]
    fn json_means_the_same() {
        let hostile = "\u{1b}\u{9b}\u{202e}\u{7f}\n\"\\\u{e0041}";
        let json = serde_json::to_string(hostile).unwrap();
        let harmless = printable_json(&json);
        assert!(harmless.chars().all(is_harmless), "{harmless}");
        let read: String = serde_json::from_str(&harmless).unwrap();
        assert_eq!(read, hostile);
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrapped("a bc  def g", 4), ["a bc", "def", "g"]);
        assert_eq!(wrapped("übergroß a", 4), ["übergroß", "a"]);
        assert_eq!(wrapped("", 4), [""]);
    }

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["a".to_owned(), "12".to_owned()],
            vec!["länger\n".to_owned(), String::new()],
        ];
        assert_eq!(
            table(&["NAME", "N"], &rows),
            "NAME      N\na         12\nlänger\\n\n"
        );
    }
}
