//! XML in the form of `builtins.toXML` and `--xml`: two spaces for each level, attributes in double
//! quotes.

/// The first line of every document.
pub const HEADER: &str = "<?xml version='1.0' encoding='utf-8'?>\n";

/// Writes elements with their indentation. Each [`Writer::open`] needs a [`Writer::close`].
#[derive(Debug)]
pub struct Writer {
    out: Vec<u8>,
    open: Vec<&'static str>,
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
        Writer { out, open: Vec::new() }
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

    /// Returns the number of bytes written so far.
    pub fn written(&self) -> usize {
        self.out.len()
    }

    pub fn finish(mut self) -> Vec<u8> {
        while !self.open.is_empty() {
            self.close();
        }
        self.out
    }

    fn indent(&mut self) {
        self.out.resize(self.out.len() + 2 * self.open.len(), b' ');
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
