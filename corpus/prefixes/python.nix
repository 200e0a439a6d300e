# A Python that brings everything it uses: C library, time zones, certificates, terminals.
{ prefix, python }:
prefix {
  name = "python-prefix";
  packages = [ python ];
  # two modules speak of "input/output/error" in words; it is no folder
  allow = [
    [ "lib/python3.11/**" "`/output/error`" ]
  ];
}
