//! Kinds of a flake's outputs, by the paths that Nix gives a meaning.

/// Meaning of an attribute path of a flake's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A set whose members have meanings of their own.
    Set,
    /// A set of one system, below the name of a kind.
    System,
    /// A set of packages to any depth, of one system.
    Legacy,
    /// A set of derivations to any depth.
    Jobs,
    /// A derivation, with the word for it.
    Derivation(&'static str),
    App,
    Template,
    Overlay,
    Module,
    Configuration,
    /// Anything: functions and values for other flakes.
    Library,
    Unknown,
}

impl Kind {
    /// Returns the meaning of a path; `None` below a path that is a whole.
    pub fn of(path: &[String]) -> Option<Kind> {
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        let derivation = |name| match name {
            "packages" | "defaultPackage" | "formatter" => Kind::Derivation("package"),
            "devShells" | "devShell" => Kind::Derivation("development environment"),
            _ => Kind::Derivation("derivation"),
        };
        Some(match *names.as_slice() {
            [] => Kind::Set,
            ["packages" | "devShells" | "checks" | "apps" | "bundlers"] => Kind::Set,
            ["formatter" | "defaultPackage" | "devShell" | "defaultApp" | "defaultBundler"] => Kind::Set,
            ["legacyPackages" | "overlays" | "nixosModules" | "nixosConfigurations" | "templates"] => Kind::Set,
            ["packages" | "devShells" | "checks" | "apps" | "bundlers", _] => Kind::System,
            ["legacyPackages", _] => Kind::Legacy,
            [kind @ ("packages" | "devShells" | "checks"), _, _] => derivation(kind),
            [kind @ ("formatter" | "defaultPackage" | "devShell"), _] => derivation(kind),
            ["apps", _, _] | ["defaultApp", _] => Kind::App,
            ["templates", _] | ["defaultTemplate"] => Kind::Template,
            ["overlays", _] | ["overlay"] => Kind::Overlay,
            ["nixosModules", _] | ["nixosModule"] => Kind::Module,
            ["nixosConfigurations", _] => Kind::Configuration,
            ["hydraJobs"] => Kind::Jobs,
            ["lib"] | ["bundlers", _, _] | ["defaultBundler", _] => Kind::Library,
            [_] => Kind::Unknown,
            _ => return None,
        })
    }

    /// Returns the system that a path is for.
    pub fn system(path: &[String]) -> Option<&str> {
        let by_system = [
            "packages",
            "devShells",
            "checks",
            "apps",
            "bundlers",
            "legacyPackages",
            "formatter",
            "defaultPackage",
            "devShell",
            "defaultApp",
            "defaultBundler",
        ];
        match path {
            [kind, system, ..] if by_system.contains(&kind.as_str()) => Some(system),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_kinds() {
        for (path, kind, system) in [
            ("packages", Some(Kind::Set), None),
            ("packages.s", Some(Kind::System), Some("s")),
            ("packages.s.p", Some(Kind::Derivation("package")), Some("s")),
            ("packages.s.p.x", None, Some("s")),
            ("formatter.s", Some(Kind::Derivation("package")), Some("s")),
            ("devShells.s.d", Some(Kind::Derivation("development environment")), Some("s")),
            ("checks.s.c", Some(Kind::Derivation("derivation")), Some("s")),
            ("overlays.default", Some(Kind::Overlay), None),
            ("lib", Some(Kind::Library), None),
            ("anything", Some(Kind::Unknown), None),
        ] {
            let names: Vec<String> = path.split('.').map(str::to_owned).collect();
            assert_eq!((Kind::of(&names), Kind::system(&names)), (kind, system), "{path}");
        }
    }
}
