# GNU hello: the smallest useful prefix.
{ hello, prefix }:
prefix {
  name = "hello-prefix";
  packages = [ hello ];
}
