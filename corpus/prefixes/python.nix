# A Python with everything it uses: C library, time zones, certificates, terminals.
{ prefix, python }:
prefix {
  name = "python-prefix";
  packages = [ python ];
}
