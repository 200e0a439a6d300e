//! Values in lines of text.

use std::borrow::Cow;

/// Returns a value for a line or a column of a table: line ends and tabs become caret notation, as
/// `^J`, so that no file name adds a line or a column.
pub fn in_line(value: &str) -> Cow<'_, str> {
    if !value.contains(['\n', '\t', '\r']) {
        return Cow::Borrowed(value);
    }
    Cow::Owned(value.replace('\n', "^J").replace('\t', "^I").replace('\r', "^M"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_value_stays_in_its_line() {
        assert_eq!(super::in_line("/a\n9\t/b\r\u{1b}"), "/a^J9^I/b^M\u{1b}");
        assert_eq!(super::in_line("/a é"), "/a é");
    }
}
