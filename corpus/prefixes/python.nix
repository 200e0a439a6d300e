# A Python that brings everything it uses: C library, time zones, certificates, terminals.
{ prefix, python }:
prefix {
  name = "python-prefix";
  packages = [ python ];
}
