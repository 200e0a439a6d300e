# A variable that is an alias of a list defined beside it is a separate value here until it is forced, and so its list is shown
# twice; Nix gives both names one value when the list comes first, and shows «repeated». Only the printed form differs.
rec {
  a = [
    1
    2
  ];
  b = a;
}
