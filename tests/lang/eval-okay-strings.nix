let x = "in"; n = 3;
in {
  escapes = "a\tb\nc\rd\"e\\f\${g}\q$h$${i}";
  interpolated = "${x}side ${toString n} ${"nested ${"deeper"}"} ${if n > 2 then "big" else "small"}";
  indented = ''
    first
      second ${x}
    ''${kept} ''' $x ''\t|
  '';
  blank = ''
      two

    none
  '';
  oneline = ''  a b '';
  closing = ''
    a
     '';
  tabs = ''
	tab
	 more'';
  only = ''${x}'';
  empty = [ "" '''' '' '' ];
  added = "a" + "b" + x + "${x}";
  compared = [ ("a" < "b") ("B" < "a") ("a" < "aa") ("" < "a") ("é" == "é") ];
  dollars = [ "$" "$$" "a$b" ''$'' ''$$'' "$\${" ];
}
