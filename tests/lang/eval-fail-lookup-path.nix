import <no-such-thing/x.nix>
