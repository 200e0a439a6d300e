# A variable that only stands for a list defined beside it is a value of its own here until it is asked for, and so its list is shown
# twice; Nix gives both names one place when the list comes first, and shows «repeated». Only the printed form tells the difference.
rec {
  a = [
    1
    2
  ];
  b = a;
}
