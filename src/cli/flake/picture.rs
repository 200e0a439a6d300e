//! Trees drawn with box characters, as Nix draws the outputs and the inputs of a flake.

/// A line, and those below it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Branch {
    pub text: String,
    pub below: Vec<Branch>,
}

impl Branch {
    pub fn new(text: impl Into<String>) -> Branch {
        Branch { text: text.into(), below: Vec::new() }
    }

    /// Draws the lines below this one.
    pub fn lines_below(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (index, branch) in self.below.iter().enumerate() {
            let (first, others) =
                if index + 1 == self.below.len() { ("└───", "    ") } else { ("├───", "│   ") };
            lines.push(format!("{first}{}", branch.text));
            lines.extend(branch.lines_below().iter().map(|line| format!("{others}{line}")));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_are_joined() {
        let below = vec![
            Branch { text: "a".into(), below: vec![Branch::new("b"), Branch::new("c")] },
            Branch { text: "d".into(), below: vec![Branch::new("e")] },
        ];
        let drawn = Branch { text: String::new(), below }.lines_below();
        assert_eq!(drawn, ["├───a", "│   ├───b", "│   └───c", "└───d", "    └───e"]);
    }
}
