//! XML in the form of `builtins.toXML` and `--xml`: two spaces for each level, attributes in double
//! quotes.

/// The first line of every document.
pub const HEADER: &str = "<?xml version='1.0' encoding='utf-8'?>\n";

/// Writes elements with their indentation. Each [`Writer::open`] needs a [`Writer::close`].
///
/// The indentation is written in the end, because that of deep values is most of their text: the
/// walk over a value without an end fails before then.
#[derive(Debug)]
pub struct Writer {
    /// Lines, without their indentation.
    out: Vec<u8>,
    open: Vec<&'static str>,
    /// Length of what comes before the root element.
    prolog: usize,
    /// Bytes of indentation of the lines so far.
    indentation: usize,
}

impl Default for Writer {
    fn default() -> Self {
        Writer::new()
    }
}

impl Writer {
    /// Starts a document with its header.
    pub fn new() -> Self {
        Writer::after(Vec::new())
    }

    /// Starts a document with its header, appended to `out`.
    pub fn after(mut out: Vec<u8>) -> Self {
        out.extend_from_slice(HEADER.as_bytes());
        let prolog = out.len();
        Writer { out, open: Vec::new(), prolog, indentation: 0 }
    }

    /// Begins an element that contains others.
    pub fn open(&mut self, name: &'static str, attributes: &[(&str, &[u8])]) {
        crate::value::Str::make_room(&mut self.out);
        self.tag(name, attributes);
        self.out.extend_from_slice(b">\n");
        self.open.push(name);
    }

    /// Ends the element that began last.
    pub fn close(&mut self) {
        let Some(name) = self.open.pop() else { return };
        self.indent();
        self.out.extend_from_slice(format!("</{name}>\n").as_bytes());
    }

    /// Writes an empty element.
    pub fn empty(&mut self, name: &str, attributes: &[(&str, &[u8])]) {
        self.tag(name, attributes);
        self.out.extend_from_slice(b" />\n");
    }

    /// Returns the length of the document so far.
    pub fn written(&self) -> usize {
        self.out.len() + self.indentation
    }

    pub fn finish(mut self) -> Vec<u8> {
        while !self.open.is_empty() {
            self.close();
        }
        self.write_indentation();
        self.out
    }

    fn indent(&mut self) {
        self.indentation += 2 * self.open.len();
    }

    /// Moves the lines to their places, from the last to the first. Escaped texts have no line
    /// feed, so an end of a line is an end of a tag.
    fn write_indentation(&mut self) {
        let mut end = self.out.len();
        let mut target = end + self.indentation;
        self.out.resize(target, b' ');
        let mut depth = 0;
        while target > end {
            let before = self.out[self.prolog..end - 1].iter().rposition(|&byte| byte == b'\n');
            let start = before.map_or(self.prolog, |at| self.prolog + at + 1);
            let line = &self.out[start..end];
            let line_depth = if line.starts_with(b"</") {
                depth += 1;
                depth - 1
            } else if line.ends_with(b"/>\n") {
                depth
            } else {
                depth -= 1;
                depth
            };
            let text = target - (end - start);
            self.out.copy_within(start..end, text);
            target = text - 2 * line_depth;
            self.out[target..text].fill(b' ');
            end = start;
        }
    }

    fn tag(&mut self, name: &str, attributes: &[(&str, &[u8])]) {
        self.indent();
        self.out.push(b'<');
        self.out.extend_from_slice(name.as_bytes());
        for (name, value) in attributes {
            self.out.push(b' ');
            self.out.extend_from_slice(name.as_bytes());
            self.out.extend_from_slice(b"=\"");
            escape(value, &mut self.out);
            self.out.push(b'"');
        }
    }
}

/// Appends a text, escaped for an attribute.
pub fn escape(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"&quot;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'&' => out.extend_from_slice(b"&amp;"),
            // Parsers turn a plain line feed into a space.
            b'\n' => out.extend_from_slice(b"&#xA;"),
            byte => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_indented_and_escaped() {
        let mut writer = Writer::new();
        writer.open("expr", &[]);
        writer.open("attr", &[("name", b"a<b")]);
        writer.empty("string", &[("value", b"x \"&\"\n")]);
        writer.close();
        insta::assert_snapshot!(String::from_utf8(writer.finish()).unwrap(), @r#"
        <?xml version='1.0' encoding='utf-8'?>
        <expr>
          <attr name="a&lt;b">
            <string value="x &quot;&amp;&quot;&#xA;" />
          </attr>
        </expr>
        "#);
    }
}
