# The python prefix as a system extension.
{ prefixes, sysext }:
sysext {
  name = "python";
  tree = prefixes.python;
}
